import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeProblem } from '../../src/config/node.ts';

const KUBERNETES = [
  ['attestors', 'kubernetes'],
  ['doors', 'webhook'],
  ['keys', 'store', 'kubernetes-secret'],
];

test('a plug-in that needs a later Node says so', () => {
  for (const at of KUBERNETES) {
    for (const version of ['v20.19.0', 'v22.18.9'])
      assert.equal(nodeProblem(at, version), `needs Node 22.19 or later; this is ${version}`);
    for (const version of ['v22.19.0', 'v23.0.0', process.version])
      assert.equal(nodeProblem(at, version), undefined);
  }
});

test('so does the OAuth server, with its records in SQLite', () => {
  for (const at of [
    ['doors', 'oauth'],
    ['doors', 'aws-sso-oidc'],
    ['doors', 'vultr'],
    ['records', 'sqlite'],
  ]) {
    for (const version of ['v20.19.0', 'v22.12.0'])
      assert.equal(nodeProblem(at, version), `needs Node 22.13 or later; this is ${version}`);
    for (const version of ['v22.13.0', 'v24.0.0', process.version])
      assert.equal(nodeProblem(at, version), undefined);
  }
});

test('the stand-alone issuer runs on any that package.json allows', () => {
  for (const at of [
    ['attestors', 'unix'],
    ['doors', 'fly'],
    ['keys', 'store', 'file'],
  ])
    assert.equal(nodeProblem(at, 'v20.19.0'), undefined);
});

test('what is demanded is what the library demands', () => {
  const { engines } = JSON.parse(readFileSync('node_modules/undici/package.json', 'utf8'));
  assert.equal(engines.node, '>=22.19.0');
});
