import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import jsonpatch from 'fast-json-patch';
import { injectPod } from '../../src/injection/inject.ts';
import { jsonPatch } from '../../src/injection/patch.ts';
import { type Container, type Pod, parsePod } from '../../src/injection/pod.ts';
import { arbitraryPod, CONTEXT, environmentOf, SETTINGS } from './pods.ts';

const inject = (given: Pod) => injectPod(parsePod(given), SETTINGS, CONTEXT);
const copy = <T>(value: T): T => structuredClone(value);

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

function applied(before: unknown, after: unknown): unknown {
  const operations = copy(jsonPatch(before, after)) as jsonpatch.Operation[];
  return jsonpatch.applyPatch(copy(before), operations, true).newDocument;
}

suite('injection of any pod', () => {
  test('leaves what it is given as it is, and is the same again', () => {
    fc.assert(
      fc.property(arbitraryPod, (given) => {
        const injected = inject(freeze(copy(given)));
        assert.equal(inject(injected), injected);
        assert.deepEqual(inject(copy(injected)), injected);
      }),
    );
  });

  test('loses nothing', () => {
    fc.assert(
      fc.property(arbitraryPod, (given) => {
        const { spec, metadata, ...rest } = inject(given);
        const { spec: old, metadata: oldMetadata, ...oldRest } = given;
        assert.deepEqual(rest, oldRest);
        const { 'mintmark.io/injected': version, ...annotations } = metadata?.annotations ?? {};
        assert.equal(version, '1.2.3');
        assert.deepEqual(
          { ...metadata, annotations },
          { ...oldMetadata, annotations: oldMetadata?.annotations },
        );
        const { containers, initContainers, volumes, dnsPolicy, ...others } = spec;
        const {
          containers: oldContainers,
          initContainers: oldInits,
          volumes: oldVolumes,
          dnsPolicy: oldDns,
          ...oldOthers
        } = old;
        assert.deepEqual(others, oldOthers);
        assert.equal(dnsPolicy, old.hostNetwork && oldDns !== 'None' ? 'ClusterFirstWithHostNet' : oldDns);
        assert.deepEqual(volumes?.slice(0, -2), oldVolumes ?? []);
        assertKept(containers, oldContainers);
        assertKept(initContainers?.slice(1) ?? [], oldInits ?? []);
      }),
    );
  });

  function assertKept(after: readonly Container[], before: readonly Container[]): void {
    assert.equal(after.length, before.length);
    for (const [index, { env, volumeMounts, ...rest }] of after.entries()) {
      const { env: oldEnv, volumeMounts: oldMounts, ...old } = before[index]!;
      assert.deepEqual(rest, old);
      assert.deepEqual(env?.slice(0, oldEnv?.length ?? 0), oldEnv ?? []);
      assert.deepEqual(volumeMounts?.slice(0, oldMounts?.length ?? 0), oldMounts ?? []);
      assert.equal(new Set(env?.map(({ name }) => name)).size, env?.length);
      assert.equal(new Set(volumeMounts?.map(({ mountPath }) => mountPath)).size, volumeMounts?.length);
    }
  }

  test('the patch leads to exactly the injected pod', () => {
    fc.assert(
      fc.property(arbitraryPod, (given) => {
        assert.deepEqual(applied(given, inject(given)), inject(given));
      }),
    );
  });

  test("the sidecar's settings can be read, and no port is taken twice", () => {
    fc.assert(
      fc.property(arbitraryPod, (given) => {
        const { spec } = inject(given);
        const [sidecar, ...inits] = spec.initContainers ?? [];
        assert.equal(sidecar?.name, 'mintmark');
        const { MINTMARK_TOKENS = '[]', MINTMARK_FILES = '[]' } = environmentOf(sidecar);
        const files = [...JSON.parse(MINTMARK_TOKENS), ...JSON.parse(MINTMARK_FILES)] as { path: string }[];
        for (const { path } of files) assert.match(path, /^\/run\/mintmark\/[\w./-]+$/);
        assert.equal(new Set(files.map(({ path }) => path)).size, files.length);
        const taken = [...inits, ...spec.containers].flatMap(({ ports }) => ports ?? []);
        const port = sidecar.ports?.[0]?.containerPort;
        assert.ok(taken.every(({ containerPort }) => containerPort !== port));
      }),
    );
  });
});

suite('jsonPatch', () => {
  const json = fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.parse(JSON.stringify(value)));
  /** The library under test refuses this name; Kubernetes has no such field. */
  const isPlain = (value: unknown) => !JSON.stringify(value).includes('__proto__');

  test('leads from any document to any other', () => {
    fc.assert(
      fc.property(json.filter(isPlain), json.filter(isPlain), (before, after) => {
        assert.deepEqual(applied(before, after), after);
      }),
      { numRuns: 1000 },
    );
  });

  test('leads from a list to one with more in it', () => {
    const item = fc
      .tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(3))
      .map(([name, value]) => ({ name, value }));
    fc.assert(
      fc.property(fc.array(item), fc.array(item), (before, after) => {
        assert.deepEqual(applied({ list: before }, { list: after }), { list: after });
      }),
      { numRuns: 1000 },
    );
  });

  test('names only what is new', () => {
    assert.deepEqual(jsonPatch({ a: 1 }, { a: 1 }), []);
    assert.deepEqual(jsonPatch({ 'a/b': { '~': [1] } }, { 'a/b': { '~': [0, 1] } }), [
      { op: 'add', path: '/a~1b/~0/0', value: 0 },
    ]);
    const list = [{ name: 'x', env: [{ name: 'A' }] }];
    assert.deepEqual(
      jsonPatch({ list }, { list: [{ name: 'new' }, { name: 'x', env: [{ name: 'A' }, { name: 'B' }] }] }),
      [
        { op: 'add', path: '/list/0', value: { name: 'new' } },
        { op: 'add', path: '/list/1/env/1', value: { name: 'B' } },
      ],
    );
    assert.deepEqual(jsonPatch({ a: 1, b: undefined }, {}), [
      { op: 'remove', path: '/a' },
      { op: 'remove', path: '/b' },
    ]);
  });
});
