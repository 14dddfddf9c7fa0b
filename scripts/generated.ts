/** Files that are made of the sources: written, or with --check compared with what is committed. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../', import.meta.url);

/** `path`: from the repository's root. With --check a file that differs makes the exit code 1. */
export async function generate(path: string, text: string): Promise<void> {
  const file = new URL(path, ROOT);
  if (process.argv[2] !== '--check') return writeFile(file, text);
  if ((await readFile(file, 'utf8').catch(() => '')) === text) return;
  const script = fileURLToPath(new URL(process.argv[1]!, 'file:///')).replace(fileURLToPath(ROOT), '');
  console.error(`${path} is not what the sources say: run node ${script}`);
  process.exitCode = 1;
}

export async function readSource(path: string): Promise<string> {
  return readFile(new URL(path, ROOT), 'utf8');
}
