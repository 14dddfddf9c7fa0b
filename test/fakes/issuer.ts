/** The whole issuer, with real keys and a clock of its own; only the attestor is fake. */
import { createIssuer, type Issuer, type IssuerParts } from '../../src/core/issuer.ts';
import type { KeyRing } from '../../src/core/key-ring.ts';
import { open as openSigner } from '../../src/signers/local.ts';
import { type FakeClock, fakeClock } from './clock.ts';
import { ISSUER, policyOf } from './policy.ts';
import { type CollectingRecorder, collectingRecorder } from './recorder.ts';
import { fixedAttestor } from './workload.ts';

export type IssuerFixture = {
  readonly issuer: Issuer;
  readonly clock: FakeClock;
  readonly recorder: CollectingRecorder;
};

export function issuerOf(ring: KeyRing, parts: Partial<IssuerParts> = {}): IssuerFixture {
  const clock = fakeClock();
  const recorder = collectingRecorder();
  let tokens = 0;
  const issuer = createIssuer({
    identifier: ISSUER,
    policy: () => policyOf({}),
    attestor: fixedAttestor(),
    signer: openSigner({ ring: () => ring, assertFresh: () => undefined }),
    recorder,
    clock,
    createTokenId: () => `jti-${++tokens}`,
    ...parts,
  });
  return { issuer, clock, recorder };
}
