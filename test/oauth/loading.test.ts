/** Nothing of OAuth is loaded where its door is not configured, from the sources or from the built program. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createPlace, type Settings, start, writeConfig } from '../system/start.ts';

const RECORDER = new URL('record-modules.ts', import.meta.url).href;
const OAUTH = /\/node_modules\/(?:oidc-provider|openid-client|oauth4webapi|otpauth|pg)\/|\/src\/doors\/oauth/;

/** The files that it loaded until it was ready, those in a bundle as well. */
async function loadedFiles(t: TestContext, settings: Settings): Promise<readonly string[]> {
  const place = await createPlace(t);
  const record = join(place.directory, 'modules');
  writeConfig(place, settings);
  const env = { NODE_OPTIONS: `--import=${RECORDER}`, RECORDED_MODULES: record };
  const server = await start(t, place, { env });
  assert.equal(await server.stop(), 0);
  const urls = readFileSync(record, 'utf8').trim().split('\n');
  return urls.filter((url) => url.startsWith('file:')).flatMap(sourcesOf);
}

/** What was bundled into a file, by its source map. */
function sourcesOf(url: string): readonly string[] {
  const map = `${fileURLToPath(url)}.map`;
  if (url.includes('/node_modules/') || !existsSync(map)) return [url];
  const { sources } = JSON.parse(readFileSync(map, 'utf8')) as { readonly sources: readonly string[] };
  return sources.map((source) => new URL(source, url).href);
}

test('without the door', async (t) => {
  const loaded = await loadedFiles(t, { doors: { fly: {} } });
  assert.ok(loaded.some((file) => file.endsWith('/src/doors/fly.ts')));
  assert.deepEqual(
    loaded.filter((file) => OAUTH.test(file)),
    [],
  );
});

test('with it, but not what its settings do not need', async (t) => {
  const loaded = await loadedFiles(t, { doors: { oauth: {} } });
  for (const part of ['/src/doors/oauth/engine.ts', '/oidc-provider/lib/provider.js'])
    assert.ok(
      loaded.some((file) => file.endsWith(part)),
      part,
    );
  assert.deepEqual(
    loaded.filter((file) => /\/node_modules\/(?:pg|openid-client)\//.test(file)),
    [],
  );
});
