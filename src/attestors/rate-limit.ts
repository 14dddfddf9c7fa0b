/** A token bucket for each caller, as many as are in use and no more. */
import { IssuerError } from '../core/errors.ts';

export type LimiterParts = {
  readonly perSecond: number;
  readonly burst: number;
  /** Monotonic seconds. */
  readonly elapsed: () => number;
};

type Bucket = { left: number; filledAt: number };

const BUCKETS_MAX = 50_000;

/** Throws `too_many_requests` with the seconds until the next one is let through. */
export function createLimiter({ perSecond, burst, elapsed }: LimiterParts): (caller: string) => void {
  const buckets = new Map<string, Bucket>();
  return (caller) => {
    const now = elapsed();
    const bucket = buckets.get(caller) ?? { left: burst, filledAt: now };
    bucket.left = Math.min(burst, bucket.left + (now - bucket.filledAt) * perSecond);
    bucket.filledAt = now;
    buckets.delete(caller); // so that it becomes the youngest
    buckets.set(caller, bucket);
    const [oldest] = buckets.keys();
    if (buckets.size > BUCKETS_MAX && oldest !== undefined) buckets.delete(oldest);
    if (bucket.left < 1)
      throw new IssuerError('too_many_requests', `${caller} asks more than ${perSecond} times a second`, {
        retryAfterSeconds: Math.ceil((1 - bucket.left) / perSecond),
      });
    bucket.left -= 1;
  };
}
