/** What the operator decides about injected sidecars; doors/webhook-settings.ts decodes it. */
export type Quantities = { readonly cpu?: string | undefined; readonly memory?: string | undefined };

export type InjectionSettings = {
  /** The sidecar's image, and when it is pulled where Kubernetes' own default will not do. */
  readonly image: string;
  readonly imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never' | undefined;
  /** Where the sidecars reach the authority: https, no final slash. */
  readonly url: string;
  /** The audience of the sidecar's own token: what `attestors.kubernetes.audience` is. */
  readonly audience: string;
  /** Where the sidecar's status pages listen, `0.0.0.0:9464`; a pod's annotation may name another port. */
  readonly statusListen: string;
  /** See `authority.reuseFloor` and `authority.singleUse` of a sidecar's configuration. */
  readonly reuseFloor: string;
  readonly singleUse: readonly string[];
  readonly resources: { readonly requests: Quantities; readonly limits: Quantities };
};

export type InjectionContext = {
  /** PEM of the CA that the authority's certificate is verified by; undefined: those that every system trusts. */
  readonly ca: string | undefined;
  readonly version: string;
};
