import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Image } from '../../src/attestors/docker-api.ts';
import { proveContainer, proveImage } from '../../src/attestors/docker-proofs.ts';

const ID = '0123456789abcdef'.repeat(4);
const IMAGE_ID = `sha256:${'1'.repeat(64)}`;
const ONE = `sha256:${'a'.repeat(64)}`;
const TWO = `sha256:${'b'.repeat(64)}`;
const CONTAINER: Container = {
  id: ID,
  name: 'shop_web_1',
  imageId: IMAGE_ID,
  image: 'registry:5000/web:1.2',
  labels: {},
  isRunning: true,
  pid: 4711,
};
const IMAGE: Image = { repoDigests: [], labels: {} };

function prove(container: Partial<Container>, image: Partial<Image> | undefined, labels: string[] = []) {
  const whole = { ...CONTAINER, ...container };
  const { selectors, facts, unproven } = proveImage(
    proveContainer(whole),
    whole,
    image && { ...IMAGE, ...image },
    labels,
  );
  const more = [...selectors].filter((selector) => !/container|image-id|image:/.test(selector));
  return { more, facts, unproven };
}

test('a container has its id, its name and its image without any more questions', () => {
  const { selectors, facts, unproven } = proveContainer(CONTAINER);
  assert.deepEqual(
    [...selectors],
    [
      `docker:container-id:${ID}`,
      'docker:container-name:shop_web_1',
      `docker:image-id:${IMAGE_ID}`,
      'docker:image:registry:5000/web:1.2',
    ],
  );
  assert.equal(facts['docker.image-id'], IMAGE_ID);
  assert.deepEqual(unproven, {});
  assert.equal(proveContainer({ ...CONTAINER, image: '' }).unproven['docker:image'], 'image_unknown');
});

test('only the labels of the list are told', () => {
  const labels = { team: 'pay:ments', tier: '', password: 'x' };
  assert.deepEqual(prove({ labels }, {}, ['team', 'tier', 'none', 'constructor', '__proto__']).more, [
    'docker:label:team:pay:ments',
    'docker:label:tier:',
  ]);
  assert.equal(prove({ labels }, {}, []).unproven['docker:label'], 'no_label');
  assert.equal(prove({}, {}, ['team']).unproven['docker:label'], 'no_label');
});

test('a label that the image brought along is nobody’s statement about the container', () => {
  const labels = { team: 'payments', tier: 'gold' };
  const image = { labels: { team: 'payments', tier: 'lead' } };
  assert.deepEqual(prove({ labels }, image, ['team', 'tier']).more, ['docker:label:tier:gold']);
  assert.equal(prove({ labels: { team: 'payments' } }, image, ['team']).unproven['docker:label'], 'no_label');
});

const COMPOSE = {
  'com.docker.compose.project': 'shop',
  'com.docker.compose.service': 'web',
  'com.docker.compose.container-number': '1',
};

test('project and service are those of containers that Compose started, of images too that it built', () => {
  const built = { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'web' };
  for (const image of [{}, { labels: built }]) {
    const { facts } = prove({ labels: COMPOSE }, image);
    assert.deepEqual([facts['docker.compose-project'], facts['docker.compose-service']], ['shop', 'web']);
  }
  for (const { labels, image } of [
    { labels: {}, image: {} },
    { labels: built, image: {} },
    { labels: built, image: built },
    { labels: COMPOSE, image: COMPOSE }, // an image that plays Compose
  ]) {
    const { facts, unproven } = prove({ labels }, { labels: image });
    assert.equal(facts['docker.compose-service'], undefined);
    assert.equal(unproven['docker:compose-service'], 'no_compose');
    assert.equal(unproven['docker:compose-project'], 'no_compose');
  }
});

test('every digest is a selector; the fact is the one that the image’s name means', () => {
  const digestOf = (image: string, ...repoDigests: string[]) => {
    const { more, facts, unproven } = prove({ image }, { repoDigests });
    return { count: more.length, fact: facts['docker.image-digest'] ?? unproven['docker:image-digest'] };
  };
  const web = 'registry:5000/web';
  assert.deepEqual(digestOf('web'), { count: 0, fact: 'no_digest' });
  assert.deepEqual(digestOf(`${web}:1.2`, `${web}@${ONE}`), { count: 1, fact: ONE });
  assert.deepEqual(digestOf(IMAGE_ID, `${web}@${ONE}`), { count: 1, fact: ONE });
  assert.deepEqual(digestOf(web, `other@${ONE}`, `${web}@${TWO}`), { count: 2, fact: TWO });
  assert.deepEqual(digestOf('web:1', `a@${ONE}`, `b@${TWO}`), { count: 2, fact: 'several_digests' });
  assert.deepEqual(digestOf(web, `${web}@${ONE}`, `${web}@${TWO}`), { count: 2, fact: 'several_digests' });
  assert.deepEqual(digestOf(`${web}@${TWO}`, `${web}@${ONE}`, `${web}@${TWO}`), { count: 2, fact: TWO });
  assert.deepEqual(digestOf(`${web}@sha256:short`, `${web}@sha256:short`), { count: 0, fact: 'no_digest' });
});

test('an image that Docker has forgotten leaves everything open that depends on it', () => {
  const { more, unproven } = prove({ labels: { team: 'payments', ...COMPOSE } }, undefined, ['team']);
  assert.deepEqual(more, []);
  assert.deepEqual(unproven, {
    'docker:label': 'image_unknown',
    'docker:image-digest': 'image_unknown',
    'docker:compose-project': 'image_unknown',
    'docker:compose-service': 'image_unknown',
  });
});
