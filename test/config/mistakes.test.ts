import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { decodeTree } from '../../src/config/decode.ts';
import { ConfigError } from '../../src/config.ts';
import { load, MINIMAL, problemsOf } from './tables.ts';

test('every mistake is told at once, with its line and a hint', async () => {
  const problems = await problemsOf(`issuer: https://id.example.com/
sokcet: /run/x
socket: { path: run/x, mode: 0660 }
public: { listen: 8443, tls: { certificate: /a }, cacheFor: 600 }
keys: { store: { flie: /var/lib }, rotateEvery: 7 days, publish_at_least: 48h }
doors: { fly: { audeince: x, org: 5 }, flie: {} }
rules:
  - name: web
    audience: sts.amazonaws.com
    match: [unix:user]
    ttl: 10m
    maxTtl: 5m
    claims: { sub: x }
    transitiveTags: [team]
    algorithm: HS256
  - { name: web, match: [], subject: "" }
tokens: [{ path: /run/t, audience: a, owner: web, mode: "0444", rule: nope }]
a: 1
a: 2
`);
  assert.deepEqual(problems, [
    'mintmark.yaml:1: issuer: must not end in a slash: write https://id.example.com',
    'mintmark.yaml:2: sokcet: is not known here (did you mean socket?)',
    'mintmark.yaml:3: socket.path: must be an absolute path, not "run/x"',
    'mintmark.yaml:3: socket.mode: must be quoted, or YAML reads a number: write "0660"',
    'mintmark.yaml:4: public.listen: names no address: write 127.0.0.1:8443, or 0.0.0.0:8443 for everyone',
    'mintmark.yaml:4: public.tls: names only one of certificate and key: both are needed',
    'mintmark.yaml:4: public.cacheFor: 600 has no unit: write 600s or 10m',
    'mintmark.yaml:5: keys.store.flie: is not known here (did you mean file?)',
    'mintmark.yaml:5: keys.publish_at_least: is not known here (did you mean publishAtLeast?)',
    'mintmark.yaml:5: keys.rotateEvery: must be a duration such as 90s, 10m, 24h or 7d, not "7 days"',
    'mintmark.yaml:6: doors.fly.audeince: is not known here (did you mean audience?)',
    'mintmark.yaml:6: doors.flie: is not known here (did you mean fly?)',
    'mintmark.yaml:6: doors.fly.org: must be a text, not 5',
    'mintmark.yaml:8: rules[0].subject: is required',
    'mintmark.yaml:9: rules[0].audience: is not known here (did you mean audiences?)',
    'mintmark.yaml:10: rules[0].match[0]: must have the form type:key:value',
    'mintmark.yaml:12: rules[0].maxTtl: is shorter than ttl',
    'mintmark.yaml:13: rules[0].claims.sub: is a claim that no rule may set',
    'mintmark.yaml:14: rules[0].transitiveTags: names team, which principalTags does not have',
    'mintmark.yaml:15: rules[0].algorithm: must be one of RS256, PS256, ES256, ES384, EdDSA, not "HS256"',
    'mintmark.yaml:16: rules[1].match: must name at least one fact: a rule that matches everyone is not taken',
    'mintmark.yaml:16: rules[1].subject: must not be empty',
    'mintmark.yaml:16: rules[1].name: is the name of rules[0] too',
    'mintmark.yaml:17: tokens[0].mode: lets others at the token: 0640 is the most',
    'mintmark.yaml:17: tokens[0].rule: there is no rule of this name; rules: web, web',
    'mintmark.yaml:18: a: is not known here (known: issuer, host, socket, public, private, status, admin, keys, records, attestors, doors, rules, issuers, tokens, log, stopWithin)',
    'mintmark.yaml:19: the same key stands here a second time',
  ]);
});

/** Each mistake alone, on top of the file that only just suffices. */
const MISTAKES: readonly (readonly [change: string, path: string, message: RegExp])[] = [
  ['issuer: http://id.example.com', 'issuer', /must be https/],
  ['issuer: HTTPS://id.example.com', 'issuer', /must be an https URL/],
  ['issuer: https://ID.example.com', 'issuer', /write https:\/\/id\.example\.com/],
  ['issuer: https://u:p@id.example.com', 'issuer', /user/],
  ['issuer: https://id.example.com?x=1', 'issuer', /query/],
  ['issuer: https://id.example.com/#x', 'issuer', /fragment/],
  ['issuer: https://id.example.com:443', 'issuer', /normal form: write https:\/\/id\.example\.com$/],
  ['issuer: https://id.example.com/a/../b', 'issuer', /normal form/],
  ['issuer: https://id.example.com/a//b', 'issuer', /letters, digits/],
  ['issuer: https://id.example.com/.well-known/x', 'issuer', /well-known/],
  ['issuer: http://127.0.0.1:0', 'issuer', /port/],
  [`issuer: https://id.example.com/${'a'.repeat(255)}`, 'issuer', /longer than 255/],
  ['issuer: 5', 'issuer', /must be a URL/],
  ['host: "a b"', 'host', /letters/],
  ['socket: []', 'socket', /a map, not a list/],
  ['socket: 7', 'socket', /path or a map/],
  ['socket: run', 'socket.path', /absolute/],
  ['socket: /run/../x', 'socket.path', /\/\.\.\//],
  [`socket: /${'s'.repeat(107)}`, 'socket.path', /longer than 107 bytes/],
  ['socket: { mode: "0755" }', 'socket.mode', /read and write only/],
  ['socket: { mode: "0060" }', 'socket.mode', /owner/],
  ['socket: { mode: 384 }', 'socket.mode', /write "0640"/],
  ['socket: { maxConnections: 10 }', 'socket', /maxConnectionsPerUid/],
  [
    'private: { listen: "0.0.0.0:8443", tls: { bootstrap: { names: [x] } }, maxConnections: 10 }',
    'private',
    /maxConnectionsPerAddress/,
  ],
  ['socket: { maxConnections: 1.5 }', 'socket.maxConnections', /whole number/],
  ['socket: { maxConnections: 0 }', 'socket.maxConnections', /must be at least 1/],
  ['socket: { strictPeer: yes }', 'socket.strictPeer', /true or false, not "yes"/],
  ['public: { listen: ":8443" }', 'public.listen', /names no address: write 127\.0\.0\.1:8443/],
  ['public: { listen: 300.0.0.1:80 }', 'public.listen', /address and a port/],
  ['public: { listen: "::1:80" }', 'public.listen', /\[::1\]/],
  ['public: { listen: 127.0.0.1:70000 }', 'public.listen', /address and a port/],
  [
    'keys: { store: memory, publishAtLeast: 24h }\npublic: { listen: 127.0.0.1:80, cacheFor: 13h }',
    'keys.publishAtLeast',
    /twice public\.cacheFor/,
  ],
  ['public: { listen: 127.0.0.1:80, tls: {} }', 'public.tls', /either certificate and key, or bootstrap/],
  [
    'public: { listen: 127.0.0.1:80, tls: { bootstrap: {}, certificate: /a, key: /b } }',
    'public.tls',
    /either/,
  ],
  ['public: { listen: 127.0.0.1:80, tls: on }', 'public.tls', /must be bootstrap/],
  [
    'public: { listen: 127.0.0.1:80, tls: { certificate: "-----BEGIN PRIVATE KEY-----", key: /b } }',
    'public.tls.certificate',
    /not a PEM text$/,
  ],
  ['public: { listen: 127.0.0.1:9464 }', 'status.listen', /public\.listen too/],
  ['status: false', 'status', /or off/],
  ['admin: { path: /run/mintmark/api.sock }', 'admin.path', /socket\.path too/],
  ['keys: {}', 'keys.store', /required/],
  ['keys: { store: {} }', 'keys.store', /exactly one of memory, file/],
  ['keys: { store: { memory: {}, file: /x } }', 'keys.store', /exactly one/],
  ['keys: { store: memroy }', 'keys.store', /did you mean memory\?/],
  ['keys: { store: { memory: { x: 1 } } }', 'keys.store.memory.x', /not known/],
  ['keys: { store: memory, encryption: {} }', 'keys.encryption', /either file or credential/],
  ['keys: { store: memory, encryption: { credential: a/b } }', 'keys.encryption.credential', /a name/],
  ['keys: { store: memory, rotateEvery: 12h }', 'keys.rotateEvery', /cannot be published 24h/],
  ['keys: { store: memory, publishAtLeast: 1h }', 'keys.publishAtLeast', /shorter than 24h/],
  ['keys: { store: memory, publishAtLeast: 8d }', 'keys.publishAtLeast', /cannot be published 8d/],
  ['attestors: {}', 'attestors', /at least one/],
  ['attestors: { docker: {} }', 'attestors.docker.socket', /required/],
  ['attestors: { unxi: {} }', 'attestors.unxi', /not known/],
  ['doors: { broken: {} }', 'doors.broken', /cannot be loaded: its library is missing/],
  ['doors: [fly]', 'doors', /a map, not a list/],
  ['rules: {}', 'rules', /must be a list, not a map/],
  ['keys: { store: { file: 5 } }', 'keys.store.file', /must be a text or a map, not 5/],
  ['issuer: https://id.example.com/a b', 'issuer', /^may have only letters/],
  ['issuer: http://id.example.com:8080/', 'issuer', /^must be https/],
  ['rules: [null]', 'rules[0]', /must be a map, not null/],
  ['log: { level: verbose }', 'log.level', /one of trace/],
  ['stopWithin: 11m', 'stopWithin', /longer than 10m/],
  ['stopWithin: 1.5s', 'stopWithin', /duration such as/],
];

for (const [change, path, message] of MISTAKES) {
  test(`refused: ${change.slice(0, 80).replace('\n', ' ')}`, async () => {
    const key = change.slice(0, change.indexOf(':'));
    const changed = change.split('\n').map((line) => line.slice(0, line.indexOf(':') + 1));
    const rest = MINIMAL.split('\n').filter((line) => !changed.some((start) => line.startsWith(start)));
    const text = key === 'rules' ? rest.filter((line) => !line.startsWith('  ')) : rest;
    const error = await load([change, ...text].join('\n')).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ConfigError, `${change} was taken`);
    const found = error.problems.find((problem) => problem.path === path);
    assert.ok(found, error.format());
    assert.match(found.message + (found.hint ?? ''), message);
  });
}

const RULE_MISTAKES: readonly (readonly [change: string, path: string, message: RegExp])[] = [
  ['ttl: 59s', 'ttl', /shorter than 1m/],
  ['ttl: 25h', 'ttl', /longer than 24h/],
  ['audiences: [""]', 'audiences[0]', /empty/],
  ['audiences: ["a\\nb"]', 'audiences[0]', /control character/],
  [`audiences: [${'a'.repeat(256)}]`, 'audiences[0]', /longer than 255/],
  ['audiences: sts.amazonaws.com', 'audiences', /a list, not "sts/],
  ['match: ["unix:user:"]', 'match[0]', /type:key:value/],
  ['match: ["::x"]', 'match[0]', /type:key:value/],
  ['claims: { "https://aws.amazon.com/tags": {} }', 'claims["https://aws.amazon.com/tags"]', /principalTags/],
  ['claims: { client_id: x }', 'claims.client_id', /no rule may set/],
  ['claims: { big: 12345678901234567890 }', 'claims.big', /quote it/],
  ['claims: { big: .inf }', 'claims.big', /quote it/],
  ['principalTags: { team: 1 }', 'principalTags.team', /a text, not 1/],
  ['principalTags: { Team: a, team: b }', 'principalTags', /differ in case/],
];

for (const [change, path, message] of RULE_MISTAKES) {
  test(`refused in a rule: ${change.slice(0, 80)}`, async () => {
    const key = change.slice(0, change.indexOf(':'));
    const base = { name: 'name: web', match: 'match: [unix:user:web]', subject: 'subject: web' };
    const lines = Object.entries({ ...base, [key]: change }).map(([, line]) => `    ${line}`);
    const text = `${MINIMAL.slice(0, MINIMAL.indexOf('rules:'))}rules:\n  -\n${lines.join('\n')}\n`;
    const error = await load(text).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ConfigError, `${change} was taken`);
    const found = error.problems.find((problem) => problem.path === `rules[0].${path}`);
    assert.ok(found, error.format());
    assert.match(found.message, message);
  });
}

test("what the schema library says is told in the file's words", () => {
  const schema = v.strictObject({
    name: v.pipe(v.string(), v.nonEmpty()),
    list: v.pipe(v.array(v.string()), v.maxLength(1)),
  });
  const { problems } = decodeTree({ name: '', list: ['a', 'b'] }, schema);
  assert.deepEqual(
    problems.map(({ path, message }) => `${path} ${message}`),
    ['name must not be empty', 'list must have at most 1 items'],
  );
});
