import assert from 'node:assert/strict';
import { test } from 'node:test';
import { warnings } from '../../src/attestors/warnings.ts';

test('an interpreter in a rule is warned of, a program is not', () => {
  for (const name of [
    'python',
    'python3',
    'python3.11',
    'node',
    'nodejs',
    'bash',
    'sh',
    'perl5.36',
    'ruby',
    'java',
    'busybox',
  ])
    assert.match(warnings(['unix:uid:1', `unix:path:/usr/bin/${name}`]).join(), /interpreter/, name);
  for (const name of ['nginx', 'noderunner', 'shd', 'pythonic-server', 'javac'])
    assert.deepEqual(warnings(['unix:uid:1', `unix:path:/usr/bin/${name}`]), [], name);
  assert.deepEqual(warnings(['unix:user:python3', 'systemd:unit:bash.service']), []);
});

test('an executable without a user or a unit is warned of', () => {
  for (const alone of [['unix:path:/opt/web'], ['unix:sha256:00'], ['unix:sha256:00', 'unix:gid:5']])
    assert.match(warnings(alone).join(), /alone proves little/);
  for (const user of ['unix:uid:5', 'unix:user:web', 'systemd:unit:web.service'])
    assert.deepEqual(warnings([user, 'unix:path:/opt/web']), []);
  assert.deepEqual(warnings(['docker:compose-service:web', 'unix:path:/opt/web']), []);
});

test('the user that stands for nobody is warned of', () => {
  for (const selector of ['unix:uid:65534', 'unix:user:nobody'])
    assert.match(warnings([selector]).join(), /shared/);
});

test('a selector that no caller can ever have is warned of', () => {
  for (const never of [
    ...['unix:uid:web', 'unix:gid:01', 'unix:sha256:zz', 'unix:path:bin/web'],
    ...['docker:label:team', 'docker:container-id:0123456789ab', 'docker:container-name:/web'],
    ...['docker:image-id:0123456789ab', 'docker:image-digest:web@sha256:00'],
  ])
    assert.match(warnings(['unix:user:web', never]).join(), /never holds/, never);
  const possible = [
    'unix:uid:0',
    'unix:supplementary-gid:27',
    `unix:sha256:${'0a'.repeat(32)}`,
    'unix:path:/opt/web',
    'docker:label:team:',
    'docker:label:team:a:b',
    'docker:image:registry:5000/web:1.2',
    `docker:image-digest:sha256:${'0a'.repeat(32)}`,
    `docker:container-id:${'0a'.repeat(32)}`,
  ];
  assert.deepEqual(warnings(['unix:user:web', ...possible]), []);
});

test('labels that no attestor looks at are told', () => {
  const match = ['docker:label:team:a', 'k8s:pod-label:team:a', 'k8s:pod-annotation:team:a:b', 'unix:uid:1'];
  const withKeys = (...keys: string[]) => ({
    docker: { labels: keys },
    kubernetes: { labels: keys, annotations: keys },
  });
  assert.deepEqual(warnings(match, withKeys('tea')), [
    'docker:label:team:a never holds: attestors.docker.labels does not name team',
    'k8s:pod-label:team:a never holds: attestors.kubernetes.labels does not name team',
    'k8s:pod-annotation:team:a:b never holds: attestors.kubernetes.annotations does not name team',
  ]);
  assert.deepEqual(warnings(match, withKeys('team')), []);
  // Without the attestor the rule is refused as a whole.
  assert.deepEqual(warnings(match), []);
});
