/** What a pod's annotations ask for: variables for its containers, files for its sidecar to keep. */
import type { Env } from './pod.ts';

export type TokenFile = { readonly path: string; readonly audience: string };
export type PlainFile = { readonly path: string; readonly content: string };

export type Provision = {
  readonly env: readonly Env[];
  readonly tokens: readonly TokenFile[];
  readonly files: readonly PlainFile[];
};

export const NOTHING: Provision = { env: [], tokens: [], files: [] };

/** A variable with this very text: `$(NAME)` in it is not a reference to another (core/v1 EnvVar). */
export function variable(name: string, text: string): Env {
  return { name, value: text.replaceAll('$', () => '$$') };
}
