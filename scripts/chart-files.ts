/** What a chart can only read inside of itself: copies of the dashboard and the alerts. */
import { generate, readSource } from './generated.ts';

for (const name of ['grafana-dashboard.json', 'alerts.yaml'])
  await generate(`charts/mintmark/files/${name}`, await readSource(`deploy/monitoring/${name}`));
