import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { RingKey } from '../../src/core/key-ports.ts';
import type { Algorithm } from '../../src/core/ports.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import { issuance, refusal } from './events.ts';

const NOW = 1_760_000_000;

function key(algorithm: Algorithm, state: RingKey['state'], publishedAt: number): RingKey {
  return { algorithm, state, publishedAt } as RingKey;
}

function open(ring: readonly RingKey[] = []) {
  const keys = [...ring];
  const metrics = createMetrics({
    version: '0.1.0',
    nodeVersion: 'v26.0.0',
    now: () => NOW,
    keys: () => keys,
    nextRotation: (algorithm) => (algorithm === 'RS256' ? 3600 : undefined),
    isReady: () => true,
  });
  const scrape = async () => (await metrics.exposition()).text;
  /** The samples of a metric, without its comments. */
  const samples = async (name: string) =>
    (await scrape()).split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return { metrics, keys, scrape, samples };
}

/** Everything that can happen has happened. */
function busy() {
  const opened = open([key('RS256', 'active', NOW - 100), key('RS256', 'next', NOW - 10)]);
  const { metrics } = opened;
  metrics.recorder.issued(issuance());
  metrics.recorder.refused(refusal());
  metrics.jwksAnswered(200);
  metrics.storeFailed('write');
  metrics.trustedKeysFetched('github', true);
  metrics.trustedKeysFetched('github', false);
  metrics.tokenFileRefreshed('/run/web/aws-token', { expiresAt: NOW + 600 });
  metrics.tokenFileRefreshed('/run/web/aws-token', { error: new Error('x') });
  metrics.configReloaded(false);
  metrics.auditFailed();
  metrics.clockJumped();
  metrics.connectionRefused('private', 'address');
  return opened;
}

test('requests, refusals and durations are counted', async () => {
  const { metrics, samples } = open();
  metrics.recorder.issued(issuance());
  metrics.recorder.issued(issuance({ peer: undefined, door: 'token-files' }));
  metrics.recorder.refused(refusal());
  metrics.recorder.refused(refusal({ code: 'temporarily_unavailable' }));
  assert.deepEqual((await samples('mintmark_requests_total')).sort(), [
    'mintmark_requests_total{door="fly",outcome="failed"} 1',
    'mintmark_requests_total{door="fly",outcome="issued"} 1',
    'mintmark_requests_total{door="fly",outcome="refused"} 1',
    'mintmark_requests_total{door="token-files",outcome="issued"} 1',
  ]);
  assert.deepEqual((await samples('mintmark_refusals_total')).sort(), [
    'mintmark_refusals_total{door="fly",code="invalid_target"} 1',
    'mintmark_refusals_total{door="fly",code="temporarily_unavailable"} 1',
  ]);
  assert.deepEqual(await samples('mintmark_mint_duration_seconds_count'), [
    'mintmark_mint_duration_seconds_count{algorithm="ES256"} 2',
  ]);
  assert.deepEqual(await samples('mintmark_attestation_duration_seconds_count'), [
    'mintmark_attestation_duration_seconds_count 1',
  ]);
});

test('keys are read from the ring at each scrape', async () => {
  const { keys, samples } = open([
    key('RS256', 'active', NOW - 1000),
    key('RS256', 'next', NOW - 100),
    key('ES256', 'retired', NOW - 5000),
    key('ES256', 'retired', NOW - 3000),
  ]);
  assert.ok((await samples('mintmark_keys')).includes('mintmark_keys{algorithm="ES256",state="retired"} 2'));
  assert.ok((await samples('mintmark_keys')).includes('mintmark_keys{algorithm="ES256",state="active"} 0'));
  assert.ok(
    (await samples('mintmark_key_age_seconds')).includes(
      'mintmark_key_age_seconds{algorithm="ES256",state="retired"} 5000',
    ),
  );
  assert.deepEqual(await samples('mintmark_key_next_rotation_seconds'), [
    'mintmark_key_next_rotation_seconds{algorithm="RS256"} 3600',
  ]);
  keys.splice(1);
  assert.deepEqual(await samples('mintmark_key_age_seconds'), [
    'mintmark_key_age_seconds{algorithm="RS256",state="active"} 1000',
  ]);
});

test('token files, reloads, faults', async () => {
  const { metrics, scrape } = busy();
  const text = await scrape();
  for (const line of [
    'mintmark_jwks_requests_total{status="200"} 1',
    'mintmark_store_errors_total{operation="write"} 1',
    'mintmark_store_errors_total{operation="read"} 0',
    'mintmark_trusted_keys_fetches_total{issuer="github",outcome="fetched"} 1',
    'mintmark_trusted_keys_fetches_total{issuer="github",outcome="failed"} 1',
    'mintmark_token_file_refreshes_total{outcome="written"} 1',
    'mintmark_token_file_refreshes_total{outcome="failed"} 1',
    `mintmark_token_file_expiry_timestamp_seconds{path="/run/web/aws-token"} ${NOW + 600}`,
    'mintmark_config_reloads_total{outcome="rejected"} 1',
    'mintmark_config_last_reload_successful 0',
    'mintmark_audit_errors_total 1',
    'mintmark_clock_jumps_total 1',
    'mintmark_build_info{version="0.1.0",node="v26.0.0"} 1',
  ])
    assert.ok(text.includes(`${line}\n`), line);
  metrics.keepTokenFiles([]);
  metrics.configReloaded(true);
  assert.doesNotMatch(await scrape(), /aws-token|last_reload_successful 0/);
});

test('figures of the process are there', async () => {
  const text = await open().scrape();
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_open_fds',
    'process_max_fds',
    'process_start_time_seconds',
    'mintmark_event_loop_active_seconds_total',
  ])
    assert.match(text, new RegExp(`^${name} [0-9.e+]+$`, 'm'));
});

test('two servers in one process do not share figures', async () => {
  const first = busy();
  const second = open();
  assert.ok((await first.scrape()).includes('mintmark_audit_errors_total 1'));
  assert.ok((await second.scrape()).includes('mintmark_audit_errors_total 0'));
});

const promtool = spawnSync('promtool', ['--version']);
const isRequired = process.env.MINTMARK_TEST_REQUIRE_ALL === '1';

test('promtool check metrics finds nothing', {
  skip:
    promtool.error !== undefined && !isRequired ? 'promtool (Debian: prometheus) is not installed' : false,
}, async () => {
  const input = await busy().scrape();
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
  assert.equal(`${stdout}${stderr}`, '');
  assert.equal(status, 0);
});

test('connections that were closed unread are counted by listener and limit', async () => {
  const { metrics, samples } = open();
  metrics.connectionRefused('private', 'address');
  metrics.connectionRefused('private', 'address');
  metrics.connectionRefused('workload', 'uid');
  assert.deepEqual((await samples('mintmark_connections_refused_total')).sort(), [
    'mintmark_connections_refused_total{listener="private",limit="address"} 2',
    'mintmark_connections_refused_total{listener="workload",limit="uid"} 1',
  ]);
});

test('the end of a certificate is told for each listener', async () => {
  const { metrics, samples } = open();
  metrics.certificateTaken('public', 100);
  metrics.certificateTaken('public', 200);
  assert.deepEqual(await samples('mintmark_tls_certificate_expiry_timestamp_seconds'), [
    'mintmark_tls_certificate_expiry_timestamp_seconds{listener="public"} 200',
  ]);
});
