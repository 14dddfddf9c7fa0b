/** The pod's annotations: only known ones, each by its pattern, and those that need another with it. */

import { parseAudience } from '../core/audience.ts';
import type { IssuerError } from '../core/errors.ts';
import { INJECTED_ANNOTATION, PREFIX } from './names.ts';
import { annotationsOf, type Pod } from './pod.ts';
import { refuse, show } from './refuse.ts';

/** The annotations, without their prefix. */
export const ANNOTATIONS = [
  'aws-role-arn',
  'aws-audience',
  'google-audience',
  'google-service-account',
  'azure-client-id',
  'azure-tenant-id',
  'vault-address',
  'vault-role',
  'vault-audience',
  'token-audiences',
  'status-port',
  'cpu',
  'memory',
] as const;

export type AnnotationName = (typeof ANNOTATIONS)[number];
export type Annotations = Readonly<Partial<Record<AnnotationName, string>>>;

/** Throws `invalid_request` for one that is not known: a pod without what it asked for must not start. */
export function readAnnotations(pod: Pod): Annotations {
  const found: Partial<Record<AnnotationName, string>> = {};
  for (const [key, value] of Object.entries(annotationsOf(pod))) {
    if (!key.startsWith(PREFIX) || key === INJECTED_ANNOTATION) continue;
    const name = ANNOTATIONS.find((known) => key === PREFIX + known);
    if (name === undefined)
      throw refuse(
        `annotation ${key} is not known; known: ${ANNOTATIONS.map((known) => PREFIX + known).join(' ')}`,
      );
    found[name] = value;
  }
  return found;
}

/** The value, if it has this form. `example` is what the refusal shows. */
export function textOf(
  annotations: Annotations,
  name: AnnotationName,
  form: RegExp,
  example: string,
): string | undefined {
  const value = annotations[name];
  if (value === undefined || form.test(value)) return value;
  throw refuse(`annotation ${PREFIX}${name} must look like ${example}, not ${show(value)}`);
}

/** The value as an audience of a token. */
export function audienceOf(annotations: Annotations, name: AnnotationName): string | undefined {
  const value = annotations[name];
  return value === undefined ? undefined : checkAudience(value, name);
}

export function checkAudience(text: string, name: AnnotationName): string {
  try {
    parseAudience(text);
    return text;
  } catch (error) {
    const { detail } = error as IssuerError;
    throw refuse(`annotation ${PREFIX}${name}: ${show(text)} is no audience: ${detail}`);
  }
}

/** Throws `invalid_request` where one of the group is there and one that the group needs is not. */
export function requireWith(
  annotations: Annotations,
  group: readonly AnnotationName[],
  needed: readonly AnnotationName[],
): void {
  const given = group.find((name) => annotations[name] !== undefined);
  const missing = needed.find((name) => annotations[name] === undefined);
  if (given !== undefined && missing !== undefined)
    throw refuse(`annotation ${PREFIX}${given} needs ${PREFIX}${missing} with it`);
}
