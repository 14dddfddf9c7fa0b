/** A container by Docker's word, as selectors and facts. Labels that its image brought along are nobody's statement about it. */
import type { SelectorKind, Workload } from '../core/ports.ts';
import type { Container, Image } from './docker-api.ts';
import { extend, NOTHING, type Proof, type Proofs } from './proofs.ts';

/** For these the image must be known too. */
const IMAGE_KINDS = [
  'docker:label',
  'docker:image-digest',
  'docker:compose-project',
  'docker:compose-service',
] as const;
export const DOCKER_KINDS = [
  'docker:container-id',
  'docker:container-name',
  'docker:image-id',
  'docker:image',
  ...IMAGE_KINDS,
] as const;

/** Compose sets it on containers and never on the images that it builds, which get its other labels. */
const COMPOSE_NUMBER = 'com.docker.compose.container-number';
const COMPOSE_PROJECT = 'com.docker.compose.project';
const COMPOSE_SERVICE = 'com.docker.compose.service';
const DIGEST = /^sha256:[0-9a-f]{64}$/;

export const needsImage = (wanted: readonly SelectorKind[]): boolean =>
  IMAGE_KINDS.some((kind) => wanted.includes(kind));

/** What is known without the image. */
export function proveContainer(container: Container): Workload {
  const { id, name, imageId, image } = container;
  return extend(NOTHING, [
    ['docker:container-id', { value: id }],
    ['docker:container-name', { value: name }],
    ['docker:image-id', { value: imageId }],
    ['docker:image', image === '' ? { unproven: 'image_unknown' } : { value: image }],
  ]);
}

/** What the image adds to it: `labels` are the keys that may be looked at. */
export function proveImage(
  known: Workload,
  container: Container,
  image: Image | undefined,
  labels: readonly string[],
): Workload {
  if (image === undefined)
    return extend(
      known,
      IMAGE_KINDS.map((kind) => [kind, { unproven: 'image_unknown' }]),
    );
  const own = ownLabels(container, image);
  const digests = digestsOf(image).map(({ digest }) => digest);
  const more = [
    ...labels.filter((key) => own.has(key)).map((key) => `docker:label:${key}:${own.get(key)}`),
    ...digests.map((digest) => `docker:image-digest:${digest}`),
  ];
  const hasLabel = labels.some((key) => own.has(key));
  const proofs: Proofs = [
    ...(hasLabel ? [] : ([['docker:label', { unproven: 'no_label' }]] satisfies Proofs)),
    ['docker:image-digest', proveDigest(container.image, image)],
    ['docker:compose-project', proveCompose(container, own, COMPOSE_PROJECT)],
    ['docker:compose-service', proveCompose(container, own, COMPOSE_SERVICE)],
  ];
  const workload = extend(known, proofs);
  return { ...workload, selectors: new Set([...workload.selectors, ...more]) };
}

/** Those that were set when the container was made: Docker hands the image's on as if they were. */
function ownLabels(container: Container, image: Image): ReadonlyMap<string, string> {
  const isImages = (key: string, value: string) =>
    Object.hasOwn(image.labels, key) && image.labels[key] === value;
  return new Map(Object.entries(container.labels).filter(([key, value]) => !isImages(key, value)));
}

/** Compose sets all three, so where one is its own the others are too, though its images have the same. */
function proveCompose(container: Container, own: ReadonlyMap<string, string>, key: string): Proof {
  const value = Object.hasOwn(container.labels, key) ? container.labels[key] : undefined;
  return value !== undefined && own.has(COMPOSE_NUMBER) ? { value } : { unproven: 'no_compose' };
}

type RepoDigest = { readonly repository: string; readonly digest: string };

function digestsOf(image: Image): readonly RepoDigest[] {
  return image.repoDigests
    .map((name) => ({ repository: repositoryOf(name), digest: name.split('@')[1] ?? '' }))
    .filter(({ digest }) => DIGEST.test(digest));
}

/** The one digest for templates: what the container's own image name pins or names, else the only one there is. */
function proveDigest(name: string, image: Image): Proof {
  const all = digestsOf(image);
  const pinned = name.split('@')[1];
  const named = all.filter(({ repository }) => repository === repositoryOf(name));
  const candidates = new Set((named.length > 0 ? named : all).map(({ digest }) => digest));
  if (pinned !== undefined && all.some(({ digest }) => digest === pinned)) return { value: pinned };
  const [only, ...more] = candidates;
  if (only === undefined) return { unproven: 'no_digest' };
  return more.length === 0 ? { value: only } : { unproven: 'several_digests' };
}

/** `registry:5000/web:1.2@sha256:…` → `registry:5000/web` */
function repositoryOf(name: string): string {
  return name.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
}
