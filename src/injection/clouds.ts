/** All that a pod's annotations ask for. A further cloud is one file and one line here. */
import type { Annotations } from './annotations.ts';
import { audienceTokens } from './audiences.ts';
import { aws } from './aws.ts';
import { azure } from './azure.ts';
import { google } from './google.ts';
import type { Provision } from './provision.ts';
import { vault } from './vault.ts';

/** Throws `invalid_request` with the annotation that is wrong. `podName` is undefined where it is not known yet. */
export function provisionOf(annotations: Annotations, podName: string | undefined): Provision {
  const clouds = [aws(annotations, podName), google(annotations), azure(annotations), vault(annotations)];
  return {
    env: clouds.flatMap(({ env }) => env),
    tokens: [...clouds.flatMap(({ tokens }) => tokens), ...audienceTokens(annotations)],
    files: clouds.flatMap(({ files }) => files),
  };
}
