/** How often a slow property is tried: by MINTMARK_TEST_RUNS=all (`make e2e`) all of them, every day a third. */
export function runs(all: number): number {
  return process.env.MINTMARK_TEST_RUNS === 'all' ? all : Math.ceil(all / 3);
}
