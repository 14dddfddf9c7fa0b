/**
 * The issuer of a sidecar: it attests who is calling, and an authority decides and
 * signs. While the authority does not answer, the last token of the same caller and
 * request is handed out again for as long as it has enough life left.
 */
import { IssuerError } from './errors.ts';
import type { Issuer } from './issuer.ts';
import type {
  Attestor,
  Authority,
  Clock,
  IssuedToken,
  Peer,
  Recorder,
  Selector,
  SelectorKind,
  TokenRequest,
  Workload,
} from './ports.ts';

export type RelayParts = {
  /** Whom it asks: it has no `iss` of its own. */
  readonly identifier: string;
  readonly attestor: Attestor;
  readonly authority: Authority;
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** The local facts that the authority is told of: kind → the kind under which it knows the claim. */
  readonly claims: Readonly<Record<SelectorKind, SelectorKind>>;
  readonly reuse: ReuseSettings;
  /** Waits for a fresh token as long as somebody should who has one still; undefined where that was too short. */
  readonly patience: (fresh: Promise<IssuedToken>) => Promise<IssuedToken | undefined>;
};

export type ReuseSettings = {
  /** A token with less life left is not handed out again; undefined: none ever is. */
  readonly floorSeconds: number | undefined;
  /** Audiences that take each token once. */
  readonly singleUse: readonly string[];
};

/** After the authority did not answer it is left alone for so long by those who have a token still. */
const PAUSE_SECONDS = 2;
const REMEMBERED_MAX = 1000;

export function createRelay(parts: RelayParts): Issuer {
  const { attestor, authority, recorder, clock } = parts;
  const wanted = new Set(Object.keys(parts.claims));
  const obtain = createObtain(parts);

  async function issue(
    door: string,
    peer: Peer | undefined,
    attest: () => Promise<Workload>,
    request: TokenRequest,
  ) {
    const startedAt = clock.elapsed();
    const workload = await attest();
    const attestSeconds = clock.elapsed() - startedAt;
    const issued = await obtain(claimsOf(workload, parts.claims), request, peer !== undefined);
    if (peer !== undefined) attestor.confirm(peer, workload);
    const totalSeconds = clock.elapsed() - startedAt;
    recorder.issued({ door, peer, workload, issued, attestSeconds, totalSeconds });
    return issued;
  }

  return {
    identifier: parts.identifier,
    issueToken: (door, peer, request) => issue(door, peer, () => attestor.attest(peer, wanted), request),
    issueTokenFor: (door, workload, request) => issue(door, undefined, async () => workload, request),
    async explain(peer, request) {
      const workload = await attestor.attest(peer, wanted);
      const explanation = await authority.explain(claimsOf(workload, parts.claims), request);
      attestor.confirm(peer, workload);
      return explanation;
    },
  };
}

type Obtain = (
  claimed: readonly Selector[],
  request: TokenRequest,
  mayReuse: boolean,
) => Promise<IssuedToken>;

/** A fresh token, or the last one. `mayReuse` is false for a token file, which is the last token itself. */
function createObtain(parts: RelayParts): Obtain {
  const { authority, clock } = parts;
  const remembered = new Remembered(parts.reuse, clock);
  let restsUntil = Number.NEGATIVE_INFINITY;
  /** Whose questions go on that nobody waits for any longer: one of each is enough to tell when it is answered. */
  const awaited = new Set<string>();

  async function ask(key: string, claimed: readonly Selector[], request: TokenRequest, mayReuse: boolean) {
    try {
      const issued = await authority.issueToken(claimed, request);
      if (mayReuse) remembered.keep(key, issued);
      restsUntil = Number.NEGATIVE_INFINITY;
      return issued;
    } catch (error) {
      if (isAway(error)) restsUntil = clock.elapsed() + PAUSE_SECONDS;
      else remembered.forget(key); // a workload that was refused gets no old token later
      throw error;
    }
  }

  return async (claimed, request, mayReuse) => {
    const key = JSON.stringify([claimed, request]);
    const find = () => (mayReuse ? remembered.find(key) : undefined);
    const old = find();
    if (old !== undefined && (awaited.has(key) || clock.elapsed() < restsUntil)) return old;
    const asked = ask(key, claimed, request, mayReuse);
    try {
      const issued = old === undefined ? await asked : await parts.patience(asked);
      if (issued !== undefined) return issued;
    } catch (error) {
      const left = isAway(error) ? find() : undefined;
      if (left === undefined) throw error;
      return left;
    }
    const left = find();
    if (left === undefined) return asked;
    const ended = () => void awaited.delete(key);
    awaited.add(key);
    asked.then(ended, ended);
    return left;
  };
}

function isAway(error: unknown): boolean {
  return error instanceof IssuerError && error.code === 'temporarily_unavailable';
}

/** `unix:uid:1000` → `sidecar:unix-uid:1000`, in a fixed order. */
function claimsOf({ selectors }: Workload, claims: RelayParts['claims']): readonly Selector[] {
  return Object.entries(claims).flatMap(([kind, claim]) =>
    [...selectors]
      .filter((selector) => selector.startsWith(`${kind}:`))
      .map((selector) => `${claim}${selector.slice(kind.length)}`)
      .sort(),
  );
}

type Kept = { readonly issued: IssuedToken; readonly keptAt: number; readonly lifeSeconds: number };

/** The last token of each caller and request. */
class Remembered {
  readonly #kept = new Map<string, Kept>();
  readonly #settings: ReuseSettings;
  readonly #clock: Clock;

  constructor(settings: ReuseSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  keep(key: string, issued: IssuedToken): void {
    const { floorSeconds, singleUse } = this.#settings;
    this.#kept.delete(key); // so that it becomes the youngest
    if (issued.isReusable === false) return;
    if (floorSeconds === undefined || [issued.claims.aud].flat().some((aud) => singleUse.includes(aud)))
      return;
    const lifeSeconds = issued.claims.exp - this.#clock.now();
    if (lifeSeconds < floorSeconds) return;
    this.#kept.set(key, { issued, keptAt: this.#clock.elapsed(), lifeSeconds });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > REMEMBERED_MAX && oldest !== undefined) this.#kept.delete(oldest);
  }

  forget(key: string): void {
    this.#kept.delete(key);
  }

  /** By both clocks, since the wall clock may have jumped back. */
  find(key: string): IssuedToken | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    const { issued, keptAt, lifeSeconds } = kept;
    const byElapsed = lifeSeconds - (this.#clock.elapsed() - keptAt);
    const left = Math.min(issued.claims.exp - this.#clock.now(), byElapsed);
    if (left >= (this.#settings.floorSeconds ?? Number.POSITIVE_INFINITY))
      return { ...issued, isReused: true };
    this.#kept.delete(key);
    return undefined;
  }
}
