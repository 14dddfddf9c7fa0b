/** Mistakes of meaning are told with those of shape, and nothing is told that only follows from another mistake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse, stringify } from 'yaml';
import { attestors } from '../../src/attestors/index.ts';
import { findMistakes } from '../../src/compose/check.ts';
import { ConfigError, type FindMore, loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { runs } from '../fakes/runs.ts';

const tables = { attestors, doors, stores, records: recordStores };
const findMore: FindMore = async (config, isHarmed) => (await findMistakes(config, isHarmed)).problems;

async function mistakesOf(text: string, more: FindMore | undefined = findMore): Promise<readonly string[]> {
  try {
    await loadConfig({ text, env: {}, tables, host: 'web-1', findMore: more });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ path, message, line }) => `${line} ${path}: ${message.split('; known')[0]}`);
  }
}

test('both kinds are told in one go, each where it stands', async () => {
  const told = await mistakesOf(`issuer: https://id.example.com/
socket: { path: /run/a.sock, group: no-such-group, mode: 0660 }
public: { listen: ":8443", tls: { certificate: /nowhere/tls.crt, key: /nowhere/tls.key } }
keys: { store: memory, rotateEvery: 7 }
rules:
  - { name: one, subject: x }
  - { name: two, match: [unix, "unix:usr:web"], subject: "a:{nope}", ttl: 600, claims: { a: "{nix}" } }
  - { match: ["unix:uid:1"], subject: "{unix.user}{unix.gid}", audience: [x] }
tokens:
  - { path: token, audience: x, owner: no-such-user }
  - 5
  - { path: /t, audience: x, owner: root, group: no-such-group }
`);
  assert.deepEqual(told, [
    '1 issuer: must not end in a slash: write https://id.example.com',
    '2 socket.mode: must be quoted, or YAML reads a number: write "0660"',
    '2 socket.group: there is no group no-such-group',
    '3 public.listen: names no address: write 127.0.0.1:8443, or 0.0.0.0:8443 for everyone',
    "3 public.tls.certificate: TLS certificate: ENOENT: no such file or directory, open '/nowhere/tls.crt'",
    "3 public.tls.key: TLS key: ENOENT: no such file or directory, open '/nowhere/tls.key'",
    '4 keys.rotateEvery: 7 has no unit: write 7s',
    '6 rules[0].match: is required',
    '7 rules[1].match[0]: must have the form type:key:value',
    '7 rules[1].ttl: 600 has no unit: write 600s or 10m',
    '7 rules[1].match[1]: no attestor proves unix:usr',
    '7 rules[1].subject: nothing is known as {nope}',
    '7 rules[1].claims.a: nothing is known as {nix}',
    '8 rules[2].audience: is not known here',
    '8 rules[2].name: is required',
    '8 rules[2].subject: {unix.gid} follows another part without one of :/|#,; between them',
    '10 tokens[0].path: must be an absolute path, not "token"',
    '10 tokens[0].owner: there is no user no-such-user',
    '11 tokens[1]: must be a map, not 5',
    '12 tokens[2].group: there is no group no-such-group',
  ]);
});

const SOUND = `issuer: https://id.example.com
host: web-1
socket: { path: /run/mintmark/api.sock, group: root, mode: "0660" }
public: { listen: 127.0.0.1:8443, cacheFor: 5m }
status: { listen: 127.0.0.1:9464 }
admin: { path: /run/mintmark/admin.sock }
keys: { store: memory, rotateEvery: 7d, publishAtLeast: 24h }
attestors: { unix: {} }
doors: { fly: { org: acme, app: web, audience: x } }
rules:
  - name: one
    match: [unix:user:root, unix:gid:0]
    subject: "{fly.org}:{unix.user}{unix.gid}"
    audiences: [sts.amazonaws.com, x]
    claims: { app: "{fly.app}", deep: [{ who: "{unix.uid}" }] }
    ttl: 10m
    maxTtl: 1h
  - { name: two, match: [unix:uid:0], subject: two, audiencePatterns: ["https://*.example.com"] }
tokens:
  - { path: /run/a, audience: x, owner: root, rule: one }
  - { path: /run/b, audience: https://a.example.com, owner: root, group: root, mode: "0440" }
`;

type Node = Record<string, unknown>;

function placesOf(node: unknown, at: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof node !== 'object' || node === null) return [at];
  return [at, ...Object.entries(node).flatMap(([name, inner]) => placesOf(inner, [...at, name]))];
}

/** As `mistakesOf` writes a path, without list numbers' brackets. */
const dotted = (told: string) =>
  told.slice(told.indexOf(' ') + 1, told.indexOf(': ')).replaceAll(/\[|\]\.?/g, '.');

test('one mistake of shape in a sound file: nothing else is told', async () => {
  assert.deepEqual(await mistakesOf(SOUND), []);
  const places = placesOf(parse(SOUND)).filter((at) => at.length > 0);
  const junk = fc.oneof(
    fc.constantFrom<unknown>(null, true, 7, '', 'x', [], {}, [null], { x: 1 }, ['x'], '10m', [[]], 'a\nb'),
    fc.string(),
  );
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...places), junk, fc.boolean(), async (at, value, isGone) => {
      const changed = parse(SOUND) as Node;
      const above = at.slice(0, -1).reduce((node, name) => node[name] as Node, changed);
      if (isGone) delete above[at.at(-1) as string];
      else above[at.at(-1) as string] = value;
      const text = stringify(changed);
      const ofShape = new Set(await mistakesOf(text, async () => []));
      if (ofShape.size === 0) return;
      compared++;
      const place = `${at.join('.')}.`;
      for (const told of await mistakesOf(text)) {
        // Without rules no token file has one, which is news.
        const isNews = at.length === 1 && at[0] === 'rules' && told.includes(' tokens[');
        if (!ofShape.has(told) && !isNews)
          assert.ok(`${dotted(told)}.`.startsWith(place), `${place} changed: ${told}`);
      }
    }),
    { numRuns: runs(500) },
  );
  assert.ok(compared > runs(500) / 5, 'too few were mistakes of shape: the test proves too little');
});
