/** How the Kubernetes API is reached: loaded once, where a plug-in asks for it. */
import type { KubeConfig } from '@kubernetes/client-node';
import { IssuerError } from '../core/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** In a pod by its service account, elsewhere by $KUBECONFIG. Throws `server_error` where there is neither. */
export function kubernetesConfig(env: Environment): () => Promise<KubeConfig> {
  let loaded: Promise<KubeConfig> | undefined;
  return () => {
    loaded ??= load(env);
    return loaded;
  };
}

/** After this long connections are made anew, with the CA that is then in the file. */
const POOL_SECONDS = 600;
/** An API server that takes a call and says nothing has failed. */
const CALL_MS = 5_000;

async function load(env: Environment): Promise<KubeConfig> {
  const library = await import('@kubernetes/client-node');
  /** The library makes a pool of connections for each request, and none is used twice: here they share one. */
  class PooledConfig extends library.KubeConfig {
    #pool: ReturnType<InstanceType<typeof library.RequestContext>['getDispatcher']>;
    #madeAt = Number.NEGATIVE_INFINITY;

    override async applySecurityAuthentication(
      request: InstanceType<typeof library.RequestContext>,
    ): Promise<void> {
      await super.applySecurityAuthentication(request);
      const now = performance.now() / 1000;
      if (this.#pool === undefined || now - this.#madeAt > POOL_SECONDS) {
        this.#pool = request.getDispatcher();
        this.#madeAt = now;
      }
      if (this.#pool !== undefined) request.setDispatcher(this.#pool);
      request.setSignal(AbortSignal.timeout(CALL_MS)); // watches have a limit of their own
    }
  }
  const config = new PooledConfig();
  const { KUBECONFIG, KUBERNETES_SERVICE_HOST } = env;
  try {
    if (KUBECONFIG !== undefined && KUBECONFIG !== '') config.loadFromFile(KUBECONFIG);
    else if (KUBERNETES_SERVICE_HOST !== undefined) config.loadFromCluster();
    else throw new Error('there is no KUBERNETES_SERVICE_HOST as in a pod, and no KUBECONFIG');
  } catch (error) {
    throw new IssuerError('server_error', `no Kubernetes API is known: ${(error as Error).message}`, {
      cause: error,
    });
  }
  return config;
}
