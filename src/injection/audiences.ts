/** Token files for anything else: one for each audience, named after it. */
import { type Annotations, checkAudience } from './annotations.ts';
import { PREFIX, TOKENS_DIRECTORY } from './names.ts';
import type { TokenFile } from './provision.ts';
import { refuse } from './refuse.ts';

const NAME = 'token-audiences';
/** A directory entry holds 255 bytes, and a file that is being replaced has a longer name beside it. */
const FILE_NAME_LENGTH = 200;
/** Each is a token that the sidecar keeps fresh, and its list is one variable. */
const AUDIENCES_MAX = 100;
/** Files of the clouds. */
const TAKEN = ['aws', 'google', 'azure', 'vault'];

export function audienceTokens(annotations: Annotations): readonly TokenFile[] {
  const text = annotations[NAME];
  if (text === undefined) return [];
  const parts = text.split(',');
  if (parts.length > AUDIENCES_MAX)
    throw refuse(`annotation ${PREFIX}${NAME} has ${parts.length} audiences: ${AUDIENCES_MAX} are the most`);
  const audiences = parts.map((part) => checkAudience(part.trim(), NAME));
  const owners = new Map(TAKEN.map((name) => [name, 'another annotation']));
  return [...new Set(audiences)].map((audience) => {
    const name = fileName(audience);
    const owner = owners.get(name);
    if (name === '') throw refuse(`annotation ${PREFIX}${NAME}: no file can be named after ${audience}`);
    if (owner !== undefined)
      throw refuse(`annotation ${PREFIX}${NAME}: the file of ${audience} would be that of ${owner}: ${name}`);
    owners.set(name, audience);
    return { path: `${TOKENS_DIRECTORY}/${name}`, audience };
  });
}

/** `https://api.example.com/v1` → `api.example.com-v1`. */
export function fileName(audience: string): string {
  const plain = audience.replace(/^[a-z][a-z0-9+.-]*:\/\//, '').replaceAll(/[^A-Za-z0-9._-]+/g, '-');
  return plain.replaceAll(/^[.-]+|[.-]+$/g, '').slice(0, FILE_NAME_LENGTH);
}
