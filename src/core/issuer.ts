/** The issuer's one story: attest, decide, claims, sign, record. */
import { buildClaims } from './claims.ts';
import { IssuerError } from './errors.ts';
import type { Policy } from './policy.ts';
import type {
  Allowed,
  Attestor,
  Clock,
  Decision,
  EpochSeconds,
  Explanation,
  IssuedToken,
  Peer,
  Recorder,
  Refused,
  SelectorKind,
  Signer,
  TokenRequest,
  Workload,
} from './ports.ts';

export type IssuerParts = {
  /** The `iss` of every token. */
  readonly identifier: string;
  /** Read for each request, so that a changed rule holds for the next one. */
  readonly policy: () => Policy;
  readonly attestor: Attestor;
  readonly signer: Signer;
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** A new `jti`, never given twice. */
  readonly createTokenId: () => string;
};

export interface Issuer {
  readonly identifier: string;
  /** Throws IssuerError; a refusal by policy carries what the caller may see of it. */
  issueToken(door: string, peer: Peer, request: TokenRequest): Promise<IssuedToken>;
  /** For a token file: the configuration names the workload, and no process has to be attested. */
  issueTokenFor(door: string, workload: Workload, request: TokenRequest): Promise<IssuedToken>;
  /** What would be decided, and why; nothing is signed. */
  explain(peer: Peer, request: TokenRequest): Promise<Explanation>;
}

/** Who a decided token is for. */
export type Asked = {
  readonly workload: Workload;
  /** Checked again before the token is handed out. */
  readonly peer?: Peer | undefined;
  /** A `jti` that is known already. */
  readonly tokenId?: string | undefined;
  /** Gets what tells of the token, where it is not handed out before something else is done; told at once where absent. */
  readonly tellLater?: ((tell: () => void) => void) | undefined;
};

/** A request that is made of what was attested. */
export type Question = {
  readonly request: (workload: Workload) => TokenRequest;
  /** Once it is decided that there is a token, and before it is signed; there is none where this throws. */
  readonly accept?: ((decision: Allowed) => Promise<void>) | undefined;
};

export interface DecidedIssuer {
  /** As `issueToken`. */
  issueShown(door: string, peer: Peer, question: Question): Promise<IssuedToken>;
  /** For whom the door's own register has decided: an OAuth client, a person who signed in. */
  issueDecided(door: string, asked: Asked, decision: Allowed): Promise<IssuedToken>;
}

export function createIssuer(parts: IssuerParts): Issuer & DecidedIssuer {
  const { identifier, policy, attestor, signer, recorder, clock } = parts;

  async function mint(
    door: string,
    peer: Peer | undefined,
    workload: Workload,
    decision: Allowed,
    startedAt: number,
    { tokenId = parts.createTokenId(), tellLater }: Pick<Asked, 'tokenId' | 'tellLater'> = {},
  ) {
    const attestedAt = clock.elapsed();
    const now = clock.now();
    const bounded = boundLife(decision, workload, now);
    const claims = buildClaims(bounded, identifier, now, tokenId);
    const signed = await signer.sign(claims, decision.algorithm, decision.type);
    if (peer !== undefined) attestor.confirm(peer, workload);
    const issued: IssuedToken = { ...signed, claims, algorithm: decision.algorithm, rule: decision.rule };
    const attestSeconds = attestedAt - startedAt;
    const totalSeconds = clock.elapsed() - startedAt;
    const tell = () => recorder.issued({ door, peer, workload, issued, attestSeconds, totalSeconds });
    if (tellLater === undefined) tell();
    else tellLater(tell);
    return issued;
  }

  async function issueShown(door: string, peer: Peer, question: Question) {
    const startedAt = clock.elapsed();
    const rules = policy();
    const workload = await attestor.attest(peer, rules.wanted);
    const request = question.request(workload);
    const decision = rules.decide(workload, request);
    if (!decision.allowed) attestor.confirm(peer, workload); // why it is refused is for no one else either
    const allowed = within(assertAllowed(decision, workload), request);
    if (question.accept !== undefined) await question.accept(allowed);
    return mint(door, peer, workload, allowed, startedAt);
  }

  return {
    identifier,
    issueToken: (door, peer, request) => issueShown(door, peer, { request: () => request }),
    issueShown,
    async issueTokenFor(door, workload, request) {
      const decision = assertAllowed(policy().decide(workload, request), workload);
      return mint(door, undefined, workload, within(decision, request), clock.elapsed());
    },
    issueDecided(door, { peer, workload, ...asked }, decision) {
      return mint(door, peer, workload, decision, clock.elapsed(), asked);
    },
    async explain(peer, request) {
      const rules = policy();
      const wanted: ReadonlySet<SelectorKind> = new Set([...rules.wanted, ...attestor.kinds]);
      const workload = await attestor.attest(peer, wanted);
      attestor.confirm(peer, workload);
      const decision = rules.decide(workload, request);
      const isAllowed = decision.allowed;
      return { workload, decision: isAllowed ? boundLife(decision, workload, clock.now()) : decision };
    },
  };
}

/** Less is not worth a signature: it would have ended on its way. */
const LIFE_MIN_SECONDS = 1;

/** No token outlives what its caller was proven by. Throws `invalid_assertion` where that is about to end. */
export function boundLife(decision: Allowed, { expiresAt }: Workload, now: EpochSeconds): Allowed {
  if (expiresAt === undefined) return decision;
  const left = Math.floor(expiresAt) - now;
  if (left >= decision.ttlSeconds) return decision;
  // Not a number ends here too.
  if (!(left >= LIFE_MIN_SECONDS)) {
    const reason = 'what proves the caller has expired';
    throw new IssuerError('invalid_assertion', reason, { shown: { reason } });
  }
  return { ...decision, ttlSeconds: left };
}

/** What a rule decided, within what the door says, which mostly says nothing. */
function within(decision: Allowed, { type, longestTtlSeconds = Infinity, algorithm }: TokenRequest): Allowed {
  if (type === undefined && longestTtlSeconds === Infinity && algorithm === undefined) return decision;
  return {
    ...decision,
    type: type ?? decision.type,
    ttlSeconds: Math.min(decision.ttlSeconds, longestTtlSeconds),
    algorithm: algorithm ?? decision.algorithm,
  };
}

function assertAllowed(decision: Decision, workload: Workload): Allowed {
  if (!decision.allowed) throw refusalError(decision, workload);
  return decision;
}

/** The caller sees the own facts and the rules whose owners let it; the log sees all. */
function refusalError(refused: Refused, workload: Workload): IssuerError {
  const nearest = refused.nearest.map(
    ({ rule, fails }) => `"${rule}" lacks ${fails.map((fail) => fail.selector).join(' ') || 'the audience'}`,
  );
  return new IssuerError(refused.code, [refused.reason, ...nearest].join('; '), {
    workload,
    shown: {
      reason: refused.reason,
      caller: [...workload.selectors].sort(),
      unproven: workload.unproven,
      nearest: refused.shown,
    },
  });
}
