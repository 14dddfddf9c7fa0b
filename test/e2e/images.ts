/** Images for the container tests, made without a registry. */
import { copyFileSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { GenericContainer } from 'testcontainers';
import { ROOT, run } from '../deploy/program.ts';
import { install } from './installation.ts';

/** This machine's node and the libraries that it loads, and nothing else: not even a shell. */
export function buildBase(directory: string, name: string): Promise<void> {
  return buildProgram(directory, name, '/usr/bin/node', process.execPath);
}

/** A program of this machine, at `path`, with the libraries that it loads. */
export async function buildProgram(
  directory: string,
  name: string,
  path: string,
  program: string,
): Promise<void> {
  const { stdout } = await run('ldd', [program]);
  const libraries = [...stdout.matchAll(/\/\S+/g)].map(([library]) => library);
  const files = new Map([
    [path, program],
    ...libraries.map((library): [string, string] => [library, library]),
  ]);
  for (const [to, from] of files) {
    mkdirSync(dirname(join(directory, to)), { recursive: true });
    copyFileSync(from, join(directory, to));
  }
  writeFileSync(join(directory, 'Dockerfile'), 'FROM scratch\nCOPY . /\nENV PATH=/usr/bin\n');
  await GenericContainer.fromDockerfile(directory).build(name);
}

/** deploy/Dockerfile over `base`, from no more than its ignore file lets in. */
export async function buildImage(directory: string, name: string, base: string): Promise<void> {
  install(directory);
  for (const file of ['Dockerfile', 'warm-cache.mjs'])
    cpSync(join(ROOT, 'deploy', file), join(directory, 'deploy', file));
  cpSync(join(ROOT, '.dockerignore'), join(directory, '.dockerignore'));
  await GenericContainer.fromDockerfile(directory, 'deploy/Dockerfile')
    .withBuildArgs({ BASE: base })
    .build(name);
}
