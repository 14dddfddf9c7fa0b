/** What is good once, raced for: on one process with SQLite, and across two replicas over PostgreSQL. */
import { before, suite } from 'node:test';
import { RACE_OAUTH, RACE_SETTINGS, raceTests } from '../oauth/races.ts';
import { type Site, startSite } from '../oauth/site.ts';
import { scopeOf } from '../system/suite.ts';
import { startSharedSite } from './oauth-site.ts';
import { postgresMissing, startPostgres } from './postgres-server.ts';

suite('a hundred at once on one process with SQLite: one wins', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let site: Site;
  before(async () => {
    const keys = (state: string) => ({ keys: { store: { file: state } }, ...RACE_SETTINGS });
    site = await startSite(scope, 1, ({ state }) => keys(state), RACE_OAUTH);
  });
  raceTests(() => site);
});

suite('a hundred at once on two replicas over PostgreSQL: one wins', {
  skip: postgresMissing(),
  concurrency: 1,
}, () => {
  const scope = scopeOf();
  let site: Site;
  before(async () => {
    site = await startSharedSite(scope, await startPostgres(scope), 2, RACE_OAUTH, RACE_SETTINGS);
  });
  raceTests(() => site);
});
