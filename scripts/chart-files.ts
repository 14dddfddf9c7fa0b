/** What a chart can only read inside of itself: dashboard and alerts, and the facts that rules may name. */
import { attestors } from '../src/attestors/index.ts';
import { generate, readSource } from './generated.ts';

for (const name of ['grafana-dashboard.json', 'alerts.yaml'])
  await generate(`charts/mintmark/files/${name}`, await readSource(`deploy/monitoring/${name}`));

const modules = await Promise.all(Object.values(attestors).map((load) => load()));
const { kinds, claimedKinds } = await attestors.kubernetes();
const facts = {
  authority: kinds,
  claimed: claimedKinds,
  standalone: modules.flatMap((each) => [...each.kinds]),
};
await generate('charts/mintmark/files/facts.json', `${JSON.stringify(facts, null, 2)}\n`);
