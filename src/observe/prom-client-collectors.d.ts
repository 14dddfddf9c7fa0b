/** prom-client has no types for its single collectors. */
declare module 'prom-client/lib/metrics/*.js' {
  const collector: (registry: import('prom-client').Registry) => void;
  export = collector;
}
