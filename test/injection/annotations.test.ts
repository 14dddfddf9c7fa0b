import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ANNOTATIONS } from '../../src/injection/annotations.ts';
import { fileName } from '../../src/injection/audiences.ts';
import { injectPod } from '../../src/injection/inject.ts';
import {
  CLIENT,
  CONTEXT,
  containerOf,
  environmentOf,
  PROVIDER,
  pod,
  ROLE,
  SETTINGS,
  TENANT,
} from './pods.ts';

type Given = Readonly<Record<string, string>>;

function inject(annotations: Given, name?: string) {
  const given = pod(annotations);
  const named = name === undefined ? given : { ...given, metadata: { ...given.metadata, name } };
  const injected = injectPod(named, SETTINGS, CONTEXT);
  const { MINTMARK_SOCKET, ...workload } = environmentOf(containerOf(injected, 'web'));
  assert.equal(MINTMARK_SOCKET, '/run/mintmark/api.sock');
  const { MINTMARK_TOKENS, MINTMARK_FILES } = environmentOf(containerOf(injected, 'mintmark'));
  const env = containerOf(injected, 'web').env ?? [];
  return {
    workload,
    env,
    resources: containerOf(injected, 'mintmark').resources,
    tokens: MINTMARK_TOKENS === undefined ? undefined : JSON.parse(MINTMARK_TOKENS),
    files: MINTMARK_FILES === undefined ? undefined : JSON.parse(MINTMARK_FILES),
  };
}

function assertRefused(annotations: Given, reason: RegExp): void {
  assert.throws(
    () => inject(annotations),
    { code: 'invalid_request', detail: reason },
    JSON.stringify(annotations),
  );
}

suite("the clouds' annotations", () => {
  test('none', () => {
    const { workload, tokens, files } = inject({});
    assert.deepEqual({ workload, tokens, files }, { workload: {}, tokens: undefined, files: undefined });
  });

  test('AWS', () => {
    const { workload, tokens, env } = inject({ 'aws-role-arn': ROLE });
    assert.deepEqual(workload, {
      AWS_ROLE_ARN: ROLE,
      AWS_WEB_IDENTITY_TOKEN_FILE: '/run/mintmark/tokens/aws',
    });
    assert.deepEqual(env.find(({ name }) => name === 'AWS_ROLE_SESSION_NAME')?.valueFrom, {
      fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' },
    });
    assert.deepEqual(tokens, [{ path: '/run/mintmark/tokens/aws', audience: 'sts.amazonaws.com' }]);
    assert.equal(inject({ 'aws-role-arn': ROLE, 'aws-audience': 'x' }).tokens[0].audience, 'x');
    for (const good of [
      'arn:aws-cn:iam::111122223333:role/web',
      'arn:aws-us-gov:iam::111122223333:role/a/b/web',
    ])
      assert.equal(inject({ 'aws-role-arn': good }).workload.AWS_ROLE_ARN, good);
  });

  test('a session name is never longer than STS takes', () => {
    const name = 'a'.repeat(70);
    assert.equal(inject({ 'aws-role-arn': ROLE }, name).workload.AWS_ROLE_SESSION_NAME, 'a'.repeat(64));
    assert.equal(inject({ 'aws-role-arn': ROLE }, 'a'.repeat(64)).workload.AWS_ROLE_SESSION_NAME, undefined);
  });

  test('Google Cloud', () => {
    const { workload, tokens, files } = inject({ 'google-audience': PROVIDER });
    assert.deepEqual(workload, { GOOGLE_APPLICATION_CREDENTIALS: '/run/mintmark/google.json' });
    assert.deepEqual(tokens, [{ path: '/run/mintmark/tokens/google', audience: PROVIDER }]);
    assert.equal(files[0].path, '/run/mintmark/google.json');
    assert.deepEqual(JSON.parse(files[0].content), {
      type: 'external_account',
      audience: PROVIDER,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: 'https://sts.googleapis.com/v1/token',
      credential_source: { file: '/run/mintmark/tokens/google', format: { type: 'text' } },
    });
    const account = 'web@acme-1.iam.gserviceaccount.com';
    const impersonating = inject({ 'google-audience': PROVIDER, 'google-service-account': account });
    assert.equal(
      JSON.parse(impersonating.files[0].content).service_account_impersonation_url,
      `https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${account}:generateAccessToken`,
    );
  });

  test('Azure', () => {
    const { workload, tokens } = inject({ 'azure-client-id': CLIENT, 'azure-tenant-id': TENANT });
    assert.deepEqual(workload, {
      AZURE_CLIENT_ID: CLIENT,
      AZURE_TENANT_ID: TENANT,
      AZURE_FEDERATED_TOKEN_FILE: '/run/mintmark/tokens/azure',
      AZURE_AUTHORITY_HOST: 'https://login.microsoftonline.com/',
    });
    assert.deepEqual(tokens, [
      { path: '/run/mintmark/tokens/azure', audience: 'api://AzureADTokenExchange' },
    ]);
  });

  test('Vault', () => {
    const vault = { 'vault-address': 'https://vault.example.com:8200', 'vault-role': 'web' };
    const { workload, tokens } = inject(vault);
    assert.deepEqual(workload, {
      VAULT_ADDR: 'https://vault.example.com:8200',
      VAULT_ROLE: 'web',
      MINTMARK_VAULT_TOKEN_FILE: '/run/mintmark/tokens/vault',
    });
    assert.deepEqual(tokens, [
      { path: '/run/mintmark/tokens/vault', audience: 'https://vault.example.com:8200' },
    ]);
    assert.equal(inject({ ...vault, 'vault-audience': 'vault' }).tokens[0].audience, 'vault');
  });

  test('any audience', () => {
    assert.deepEqual(inject({ 'token-audiences': 'https://api.example.com/v1, kafka ,kafka' }).tokens, [
      { path: '/run/mintmark/tokens/api.example.com-v1', audience: 'https://api.example.com/v1' },
      { path: '/run/mintmark/tokens/kafka', audience: 'kafka' },
    ]);
  });

  test('all of them at once', () => {
    const { tokens } = inject({
      'aws-role-arn': ROLE,
      'google-audience': PROVIDER,
      'azure-client-id': CLIENT,
      'azure-tenant-id': TENANT,
      'vault-address': 'https://v.example.com',
      'vault-role': 'web',
      'token-audiences': 'x',
    });
    assert.deepEqual(
      tokens.map(({ path }: { path: string }) => path.split('/').at(-1)),
      ['aws', 'google', 'azure', 'vault', 'x'],
    );
  });

  test('a dollar is a dollar', () => {
    const { workload } = inject({ 'vault-address': 'https://v.example.com', 'vault-role': '$(HOME)$$x$' });
    assert.equal(workload.VAULT_ROLE, '$(HOME)$$x$');
    assert.equal(inject({ 'token-audiences': 'a$(PATH)' }).tokens[0].audience, 'a$(PATH)');
  });

  test('processor and memory are request and limit', () => {
    assert.deepEqual(inject({ cpu: '0.5' }).resources, {
      requests: { cpu: '0.5', memory: '48Mi' },
      limits: { cpu: '0.5', memory: '96Mi' },
    });
    assert.deepEqual(inject({ cpu: '100m', memory: '1Gi' }).resources, {
      requests: { cpu: '100m', memory: '1Gi' },
      limits: { cpu: '100m', memory: '1Gi' },
    });
  });
});

suite('annotations that are refused', () => {
  test('those that nobody knows: a slip must not cost a pod its identity in silence', () => {
    assertRefused(
      { 'aws-role': ROLE },
      /^annotation mintmark\.io\/aws-role is not known; known: mintmark\.io\/aws-role-arn /,
    );
    assertRefused({ toString: 'x' }, /is not known/);
    assertRefused({ inject: 'true' }, /is not known/);
  });

  test('a part without the rest of it', () => {
    assertRefused({ 'aws-audience': 'x' }, /aws-audience needs mintmark\.io\/aws-role-arn with it/);
    assertRefused(
      { 'google-service-account': 'a@b.iam.gserviceaccount.com' },
      /needs mintmark\.io\/google-audience/,
    );
    assertRefused({ 'azure-client-id': CLIENT }, /azure-client-id needs mintmark\.io\/azure-tenant-id/);
    assertRefused({ 'azure-tenant-id': TENANT }, /azure-tenant-id needs mintmark\.io\/azure-client-id/);
    assertRefused(
      { 'vault-address': 'https://v.example.com' },
      /vault-address needs mintmark\.io\/vault-role/,
    );
    assertRefused({ 'vault-role': 'x' }, /vault-role needs mintmark\.io\/vault-address/);
    assertRefused({ 'vault-audience': 'x' }, /vault-audience needs mintmark\.io\/vault-address/);
  });

  test('values of another form', () => {
    const azure = { 'azure-client-id': CLIENT, 'azure-tenant-id': TENANT };
    const google = { 'google-audience': PROVIDER };
    const vault = { 'vault-address': 'https://v.example.com', 'vault-role': 'x' };
    const aws = { 'aws-role-arn': ROLE };
    const wrong: readonly Given[] = [
      { 'aws-role-arn': '' },
      { 'aws-role-arn': 'web' },
      { 'aws-role-arn': `${ROLE}\n` },
      { 'aws-role-arn': 'arn:aws:iam::1111:role/web' },
      { 'aws-role-arn': 'arn:aws:iam::111122223333:user/web' },
      { ...aws, 'aws-audience': '' },
      { ...aws, 'aws-audience': 'a\u0000b' },
      { 'google-audience': `https:${PROVIDER}` },
      { 'google-audience': 'projects/1/locations/global/workloadIdentityPools/a/providers/b' },
      { ...google, 'google-service-account': 'web' },
      { ...google, 'google-service-account': 'a@b.iam.gserviceaccount.com/x' },
      { ...azure, 'azure-client-id': 'x' },
      { ...azure, 'azure-tenant-id': 'contoso.onmicrosoft.com' },
      { ...vault, 'vault-address': 'vault.example.com' },
      { ...vault, 'vault-address': 'https://v.example.com/?a' },
      { ...vault, 'vault-role': 'a b' },
      { ...vault, 'vault-audience': '' },
      { 'token-audiences': '' },
      { 'token-audiences': 'a,,b' },
      { 'token-audiences': 'x'.repeat(256) },
      ...['0', '0m', '-1', '1e3', '100Mi', ''].map((cpu) => ({ cpu })),
      ...['0', '64mi', '64m', '-1', 'lots', '', '1e9'].map((memory) => ({ memory })),
    ];
    for (const annotations of wrong) assertRefused(annotations, /^annotation mintmark\.io\//);
  });

  test('a long value is not told in full', () => {
    assert.throws(
      () => inject({ 'aws-role-arn': 'x'.repeat(100_000) }),
      ({ detail }: { detail: string }) => detail.length < 300,
    );
  });

  test('two audiences for one file', () => {
    assertRefused(
      { 'token-audiences': 'https://a, http://a' },
      /the file of http:\/\/a would be that of https:\/\/a: a$/,
    );
    assertRefused({ 'token-audiences': 'aws' }, /would be that of another annotation: aws/);
    assertRefused({ 'token-audiences': '///' }, /no file can be named after \/\/\//);
  });
});

test('the name of a file stays in its directory', () => {
  for (const [audience, name] of [
    ['../../etc/passwd', 'etc-passwd'],
    ['.', ''],
    ['..', ''],
    ['.hidden', 'hidden'],
    ['spiffe://a/b', 'a-b'],
    ['api://AzureADTokenExchange', 'AzureADTokenExchange'],
    ['ü', ''],
    ['x'.repeat(255), 'x'.repeat(200)],
  ] as const)
    assert.equal(fileName(audience), name);
});

test('every annotation is one that Kubernetes takes', () => {
  for (const name of ANNOTATIONS) assert.match(name, /^[a-z][a-z-]{0,61}[a-z]$/);
});
