/** What a chart can only read inside of itself: dashboard and alerts, and the facts that rules may name. */
import { attestors } from '../src/attestors/index.ts';
import type { Provable } from '../src/core/ports.ts';
import { generate, readSource } from './generated.ts';

for (const name of ['grafana-dashboard.json', 'alerts.yaml'])
  await generate(`charts/mintmark/files/${name}`, await readSource(`deploy/monitoring/${name}`));

const modes: Readonly<Record<string, Provable>> = {
  authority: await attestors.kubernetes(),
  standalone: await attestors.unix(),
};
const facts = Object.entries(modes).map(
  ([mode, { kinds, claimedKinds: claimed = [], pluralKinds: plural = [] }]) =>
    [mode, { kinds, claimed, plural }] as const,
);
await generate('charts/mintmark/files/facts.json', `${JSON.stringify(Object.fromEntries(facts), null, 2)}\n`);
