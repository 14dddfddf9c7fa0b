import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { injectPod } from '../../src/injection/inject.ts';
import { type Pod, parsePod } from '../../src/injection/pod.ts';
import type { InjectionSettings } from '../../src/injection/settings.ts';
import { refusal } from '../conformance/key-store.ts';
import { restrictedViolations } from './pod-security.ts';
import { CONTEXT, containerOf, environmentOf, PEM, pod, SETTINGS } from './pods.ts';

const inject = (given: Pod, settings: Partial<InjectionSettings> = {}) =>
  injectPod(given, { ...SETTINGS, ...settings }, CONTEXT);

function assertRefused(given: Pod, reason: RegExp): void {
  assert.throws(
    () => inject(given),
    (error) => {
      assert.ok(error instanceof IssuerError);
      assert.equal(error.code, 'invalid_request');
      assert.match(error.detail, reason);
      assert.deepEqual(error.shown, { reason: error.detail });
      return true;
    },
  );
}

suite('injectPod', () => {
  test('adds the sidecar, its volumes and the annotation; the workload gets the socket', () => {
    const { metadata, spec } = inject(pod());
    assert.equal(metadata?.annotations?.['mintmark.io/injected'], '1.2.3');
    assert.deepEqual(spec.volumes, [
      { name: 'mintmark-socket', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
      {
        name: 'mintmark-token',
        projected: {
          sources: [{ serviceAccountToken: { audience: 'mintmark', expirationSeconds: 600, path: 'token' } }],
        },
      },
    ]);
    assert.deepEqual(spec.containers, [
      {
        name: 'web',
        image: 'busybox',
        env: [{ name: 'MINTMARK_SOCKET', value: '/run/mintmark/api.sock' }],
        volumeMounts: [{ name: 'mintmark-socket', mountPath: '/run/mintmark', readOnly: true }],
      },
    ]);
    const [sidecar] = spec.initContainers ?? [];
    assert.equal(sidecar?.name, 'mintmark');
    assert.equal(sidecar.restartPolicy, 'Always');
    assert.deepEqual(sidecar.args, ['serve']);
    assert.deepEqual(environmentOf(sidecar), {
      MINTMARK_AUTHORITY_URL: 'https://mintmark.mintmark.svc:8443',
      MINTMARK_AUTHORITY_CA: PEM,
      MINTMARK_AUTHORITY_TOKEN_FILE: '/var/run/secrets/mintmark/token',
      MINTMARK_SOCKET: '/run/mintmark/api.sock',
      MINTMARK_STATUS_LISTEN: '0.0.0.0:9464',
    });
    assert.deepEqual(sidecar.startupProbe, {
      httpGet: { path: '/readyz', port: 9464 },
      periodSeconds: 1,
      timeoutSeconds: 2,
      failureThreshold: 86_400,
    });
  });

  test('the sidecar has its own token and none for the Kubernetes API', () => {
    const mounts = containerOf(inject(pod()), 'mintmark').volumeMounts ?? [];
    assert.deepEqual(
      mounts.map(({ name, mountPath, readOnly }) => [name, mountPath, readOnly === true]),
      [
        ['mintmark-socket', '/run/mintmark', false],
        ['mintmark-token', '/var/run/secrets/mintmark', true],
        // The ServiceAccount admission leaves a container alone that has something there.
        ['mintmark-token', '/var/run/secrets/kubernetes.io/serviceaccount', true],
      ],
    );
  });

  test('goes first, and init containers get the socket too', () => {
    const given = pod(
      {},
      { initContainers: [{ name: 'migrate' }, { name: 'proxy', restartPolicy: 'Always' }] },
    );
    const injected = inject(given);
    assert.deepEqual(
      injected.spec.initContainers?.map(({ name }) => name),
      ['mintmark', 'migrate', 'proxy'],
    );
    for (const name of ['migrate', 'proxy', 'web'])
      assert.equal(containerOf(injected, name).volumeMounts?.[0]?.readOnly, true);
  });

  test('ephemeral containers stay as they are', () => {
    const ephemeralContainers = [{ name: 'debugger', image: 'busybox' }];
    assert.equal(inject(pod({}, { ephemeralContainers })).spec.ephemeralContainers, ephemeralContainers);
  });

  test('a variable that the container sets stays as it is, also one without a value', () => {
    const env = [
      { name: 'MINTMARK_SOCKET', value: '/elsewhere' },
      { name: 'AWS_ROLE_ARN', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      { name: 'AWS_WEB_IDENTITY_TOKEN_FILE' },
    ];
    const given = pod(
      { 'aws-role-arn': 'arn:aws:iam::111122223333:role/web' },
      { containers: [{ name: 'web', env }] },
    );
    const injected = containerOf(inject(given), 'web').env ?? [];
    assert.deepEqual(injected.slice(0, 3), env);
    assert.deepEqual(
      injected.slice(3).map(({ name }) => name),
      ['AWS_ROLE_SESSION_NAME'],
    );
  });

  test('a container that another webhook adds afterwards gets the socket, the sidecar stays', () => {
    const injected = inject(pod({ 'vault-address': 'https://v.example.com', 'vault-role': 'web' }));
    const more = {
      ...injected,
      spec: { ...injected.spec, containers: [...injected.spec.containers, { name: 'late' }] },
    };
    const again = inject(more, { image: 'another:2' });
    assert.deepEqual(containerOf(again, 'mintmark'), containerOf(injected, 'mintmark'));
    assert.deepEqual(containerOf(again, 'late').env, containerOf(injected, 'web').env);
    assert.equal(again.metadata, more.metadata);
  });

  test('a pod that is injected already is the same object again', () => {
    const injected = inject(pod({ 'token-audiences': 'a, b' }, { initContainers: [{ name: 'init' }] }));
    assert.equal(inject(injected), injected);
  });

  test('a pod template without metadata, and one with generateName', () => {
    const bare = inject({ spec: { containers: [{ name: 'a' }] } });
    assert.deepEqual(bare.metadata, { annotations: { 'mintmark.io/injected': '1.2.3' } });
    const named = inject({ metadata: { generateName: 'web-' }, spec: { containers: [{ name: 'a' }] } });
    assert.equal(named.metadata?.generateName, 'web-');
  });

  test('without a CA there is no variable for it', () => {
    const injected = injectPod(pod(), SETTINGS, { ca: undefined, version: '1' });
    assert.ok(!('MINTMARK_AUTHORITY_CA' in environmentOf(containerOf(injected, 'mintmark'))));
  });

  test('the settings decide image, pull policy, audience and resources', () => {
    const injected = inject(pod(), {
      image: 'x:1',
      imagePullPolicy: 'Never',
      audience: 'other',
      reuseFloor: 'off',
      singleUse: ['once'],
      resources: { requests: { cpu: '1' }, limits: {} },
    });
    const { image, imagePullPolicy, resources } = containerOf(injected, 'mintmark');
    assert.deepEqual(
      { image, imagePullPolicy, resources },
      { image: 'x:1', imagePullPolicy: 'Never', resources: { requests: { cpu: '1' }, limits: {} } },
    );
    const env = environmentOf(containerOf(injected, 'mintmark'));
    assert.equal(env.MINTMARK_AUTHORITY_REUSE_FLOOR, 'off');
    assert.equal(env.MINTMARK_AUTHORITY_SINGLE_USE, '["once"]');
    assert.match(JSON.stringify(injected.spec.volumes), /"audience":"other"/);
    assert.ok(!('imagePullPolicy' in containerOf(inject(pod()), 'mintmark')));
  });
});

suite('what injection refuses', () => {
  test('names that are taken', () => {
    assertRefused(
      pod({}, { volumes: [{ name: 'mintmark-token', emptyDir: {} }] }),
      /has the volume mintmark-token already/,
    );
    assertRefused(
      pod({}, { volumes: [{ name: 'mintmark-socket' }] }),
      /has the volume mintmark-socket already/,
    );
    assertRefused(
      pod({}, { initContainers: [{ name: 'mintmark' }] }),
      /has the init container mintmark already/,
    );
    assertRefused(pod({}, { containers: [{ name: 'mintmark' }] }), /has a container named mintmark already/);
    assertRefused(pod({}, { ephemeralContainers: [{ name: 'mintmark' }] }), /has a container named mintmark/);
  });

  test('a pod that only says that it was injected', () => {
    assertRefused(
      pod({ injected: '1.0.0' }),
      /says that it was injected, and it has no init container mintmark/,
    );
    const { spec, ...rest } = inject(pod());
    const { volumes, ...without } = spec;
    const half = volumes?.filter(({ name }) => name !== 'mintmark-token') ?? [];
    assertRefused({ ...rest, spec: { ...without, volumes: half } }, /has no volume mintmark-token/);
    assertRefused({ ...rest, spec: without }, /has no volume mintmark-socket/);
  });

  test('a mount where the socket goes, and mounts of what only the sidecar has', () => {
    const mounting = (name: string, mountPath: string, readOnly?: boolean) =>
      pod(
        {},
        { containers: [{ name: 'web', volumeMounts: [{ name, mountPath, ...(readOnly && { readOnly }) }] }] },
      );
    assertRefused(mounting('data', '/run/mintmark'), /container web mounts data at \/run\/mintmark, where/);
    assertRefused(mounting('data', '/run/mintmark/'), /mounts data at \/run\/mintmark\/, where/);
    for (const path of [
      '/run/mintmark/tokens',
      '/run/./mintmark',
      '/run//mintmark/',
      '/run/x/../mintmark',
      'run/mintmark',
      '/var/run/mintmark',
      '/var/run/mintmark/tokens/',
    ])
      assertRefused(mounting('data', path), /where the socket's directory goes/);
    assertRefused(mounting('mintmark-token', '/x', true), /which is the sidecar's alone/);
    assertRefused(mounting('mintmark-socket', '/x'), /must do so with readOnly: true/);
    inject(mounting('data', '/run/mintmark-else'));
    inject(mounting('data', '/run'));
    inject(mounting('data', '/var/run'));
    inject(mounting('data', '/srv/var/run/mintmark'));
  });

  test('a writable mount that came after the injection', () => {
    const { spec, ...rest } = inject(pod());
    const thief = { name: 'thief', volumeMounts: [{ name: 'mintmark-socket', mountPath: '/s' }] };
    assertRefused({ ...rest, spec: { ...spec, containers: [...spec.containers, thief] } }, /thief mounts/);
  });

  test('Windows', () => assertRefused(pod({}, { os: { name: 'windows' } }), /for Windows/));
});

suite('networks', () => {
  test("on the host's network a Service's name is looked up in the cluster's DNS", () => {
    assert.equal(inject(pod({}, { hostNetwork: true })).spec.dnsPolicy, 'ClusterFirstWithHostNet');
    const stated = pod({}, { hostNetwork: true, dnsPolicy: 'ClusterFirst' });
    assert.equal(inject(stated).spec.dnsPolicy, 'ClusterFirstWithHostNet');
    const elsewhere = { url: 'https://tokens.example.com' };
    assert.equal(inject(stated, elsewhere).spec.dnsPolicy, 'ClusterFirst');
    assert.equal(inject(pod({}, { dnsPolicy: 'ClusterFirst' })).spec.dnsPolicy, 'ClusterFirst');
    const own = pod({}, { hostNetwork: true, dnsPolicy: 'None', dnsConfig: { nameservers: ['10.0.0.10'] } });
    assert.equal(inject(own).spec.dnsPolicy, 'None');
  });

  test("a pod that wants the node's resolver is told that it does not know the authority", () => {
    assertRefused(
      pod({}, { dnsPolicy: 'Default' }),
      /dnsPolicy Default .* mintmark\.mintmark\.svc: use ClusterFirst/,
    );
    inject(pod({}, { dnsPolicy: 'Default' }), { url: 'https://tokens.example.com' });
  });

  const portOf = (injected: Pod) => {
    const sidecar = containerOf(injected, 'mintmark');
    const [port] = sidecar.ports ?? [];
    assert.deepEqual(
      (sidecar.startupProbe as { httpGet: { port: unknown } }).httpGet.port,
      port?.containerPort,
    );
    assert.ok(environmentOf(sidecar).MINTMARK_STATUS_LISTEN?.endsWith(`:${port?.containerPort}`));
    return port?.containerPort;
  };

  test('the status port is the annotated one, or one that no container has', () => {
    const listening = (...ports: readonly object[]) => ({
      containers: [{ name: 'web', ports: ports as never }],
    });
    assert.equal(portOf(inject(pod())), 9464);
    assert.equal(portOf(inject(pod({ 'status-port': '9999' }))), 9999);
    const both = listening({ containerPort: 9464 }, { containerPort: 9465, protocol: 'TCP' });
    assert.equal(portOf(inject(pod({}, both))), 9466);
    assert.equal(portOf(inject(pod({}, listening({ containerPort: 9464, protocol: 'UDP' })))), 9464);
    assert.equal(portOf(inject(pod(), { statusListen: '[::]:8080' })), 8080);
    assertRefused(pod({ 'status-port': '9464' }, both), /status-port: container web has port 9464 already/);
    for (const bad of ['80', '0', '99999', '70000', '-1', 'http', '', ' 9464', '9464.0', '1023'])
      assertRefused(pod({ 'status-port': bad }), /annotation mintmark\.io\/status-port must/);
  });
});

suite('Pod Security Standards', () => {
  const restricted = {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'web',
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  };

  test('the rules of the test know a pod that is not restricted', () => {
    assert.deepEqual(restrictedViolations(pod({}, restricted)), []);
    assert.deepEqual(restrictedViolations(pod()), [
      'web: allowPrivilegeEscalation',
      'web: runAsNonRoot',
      'web: seccompProfile',
      'web: capabilities.drop',
    ]);
    assert.deepEqual(restrictedViolations(pod({}, { ...restricted, hostNetwork: true })), ['hostNetwork']);
  });

  test('a restricted pod stays restricted', () => {
    assert.deepEqual(restrictedViolations(inject(pod({}, restricted))), []);
  });

  test('the sidecar is restricted by itself, whatever the pod is', () => {
    const [sidecar] = inject(pod({}, { securityContext: { runAsUser: 0, runAsNonRoot: false } })).spec
      .initContainers!;
    assert.deepEqual(restrictedViolations({ spec: { containers: [sidecar] } }), []);
    assert.deepEqual(sidecar!.securityContext, {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: 65532,
      runAsNonRoot: true,
      runAsUser: 65532,
      seccompProfile: { type: 'RuntimeDefault' },
    });
  });
});

test('an annotated memory that no sidecar could start with is refused', () => {
  const little = pod({ memory: '1Ki' });
  assert.throws(
    () => injectPod(little, SETTINGS, CONTEXT),
    refusal('invalid_request', /memory is 1Ki: 32Mi is the least that a sidecar runs with/),
  );
  injectPod(pod({ memory: '32Mi' }), SETTINGS, CONTEXT);
});

suite('parsePod', () => {
  test('takes what Kubernetes takes, null for nothing among it', () => {
    for (const good of [
      { spec: { containers: [{ name: 'a' }] } },
      {
        metadata: null,
        spec: { containers: [{ name: 'a', env: null, volumeMounts: null, ports: null }], volumes: null },
      },
      {
        metadata: { labels: null, annotations: null },
        spec: { containers: [{ name: 'a' }], initContainers: null },
      },
    ])
      injectPod(parsePod(good), SETTINGS, CONTEXT);
  });

  test('takes no more than a pod can need', () => {
    const many = (length: number) => Array.from({ length }, (_, index) => ({ name: `n-${index}` }));
    const containers = many(100);
    const fits = { spec: { containers, initContainers: many(99), ephemeralContainers: many(1) } };
    assert.ok(JSON.stringify(injectPod(parsePod(fits), SETTINGS, CONTEXT)));
    const refused = (value: unknown) => refusal('invalid_request', new RegExp(String(value)));
    assert.throws(
      () => parsePod({ spec: { ...fits.spec, ephemeralContainers: many(2) } }),
      refused('it has 201 containers: 200 are the most'),
    );
    assert.throws(
      () => parsePod({ spec: { containers, volumes: many(1001) } }),
      refused('it has 1001 volumes: 1000 are the most'),
    );
    assert.throws(
      () => parsePod({ metadata: { annotations: { a: 'x'.repeat(256 * 1024) } }, spec: { containers } }),
      refused('metadata.annotations has more than 256 KiB'),
    );
    const audiences = many(101).map(({ name }) => name);
    assert.throws(
      () => injectPod(pod({ 'token-audiences': audiences.join(',') }), SETTINGS, CONTEXT),
      refused('has 101 audiences: 100 are the most'),
    );
  });

  test('says where something is wrong', () => {
    const wrong: readonly (readonly [unknown, string])[] = [
      [null, 'the pod is no map'],
      [[], 'the pod is no map'],
      ['x', 'the pod is no map'],
      [{}, 'spec is no map'],
      [{ spec: {} }, 'spec.containers is no list of containers'],
      [{ spec: { containers: [] } }, 'spec.containers is no list of containers'],
      [{ spec: { containers: {} } }, 'spec.containers is no list of containers'],
      [{ spec: { containers: [null] } }, 'spec.containers[0] is no map'],
      [{ spec: { containers: [{}] } }, 'spec.containers[0] has no name'],
      [{ spec: { containers: [{ name: 'a', env: {} }] } }, 'spec.containers[0].env is no list'],
      [{ spec: { containers: [{ name: 'a', env: [{}] }] } }, 'spec.containers[0].env[0] has no name'],
      [{ spec: { containers: [{ name: 'a', ports: 1 }] } }, 'spec.containers[0].ports is no list'],
      [
        { spec: { containers: [{ name: 'a', volumeMounts: [{ name: 'x' }] }] } },
        'spec.containers[0].volumeMounts[0] has no mountPath',
      ],
      [{ spec: { containers: [{ name: 'a' }], initContainers: ['x'] } }, 'spec.initContainers[0] is no map'],
      [{ spec: { containers: [{ name: 'a' }], volumes: [{}] } }, 'spec.volumes[0] has no name'],
      [{ metadata: [], spec: { containers: [{ name: 'a' }] } }, 'metadata is no map'],
      [
        { metadata: { annotations: { a: 1 } }, spec: { containers: [{ name: 'a' }] } },
        'metadata.annotations: "a" must be a text in quotes',
      ],
    ];
    for (const [value, reason] of wrong)
      assert.throws(
        () => parsePod(value),
        (error: IssuerError) => error.detail === reason,
        reason,
      );
  });
});
