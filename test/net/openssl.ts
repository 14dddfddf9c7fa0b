/** What openssl says of certificates. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A directory of this test's own that goes when it ends. */
export async function scratch(t: TestContext): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), 'mintmark-ca-'));
  t.after(() => fs.rm(path, { recursive: true, force: true }));
  return path;
}

/** `openssl verify` of a server certificate under the CA; its own words where it refuses. */
export async function opensslVerify(
  t: TestContext,
  caPem: string,
  cert: Buffer | string,
  ...args: string[]
): Promise<string> {
  const directory = await scratch(t);
  await fs.writeFile(join(directory, 'ca.pem'), caPem);
  await fs.writeFile(join(directory, 'leaf.pem'), cert);
  try {
    const options = ['verify', '-x509_strict', ...args, '-CAfile', 'ca.pem', 'leaf.pem'];
    return execFileSync('openssl', options, { cwd: directory, stdio: 'pipe' }).toString();
  } catch (error) {
    return String((error as { stderr: Buffer }).stderr);
  }
}
