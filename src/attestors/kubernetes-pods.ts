/** The pods that run now and the namespaces they are in, followed by watches; what these lack is read. */
import {
  type CoreV1Api,
  type KubeConfig,
  type KubernetesListObject,
  makeInformer,
  type V1Namespace,
  type V1Pod,
} from '@kubernetes/client-node';
import { createImageChanges, type ImageChanges } from './kubernetes-changes.ts';
import { apiFault } from './kubernetes-faults.ts';

export type PodSource = {
  /** Undefined where there is none. Throws `temporarily_unavailable`. */
  pod(namespace: string, name: string, uid: string): Promise<V1Pod | undefined>;
  namespaceUid(name: string): Promise<string | undefined>;
  changedIn: ImageChanges['changedIn'];
  close(): Promise<void>;
};

type Watched<T> = { get(name: string, namespace?: string): T | undefined; stop(): Promise<void> };

const RESTART_MS = 2_000;

export function watchPods(config: KubeConfig, api: CoreV1Api, warn: (message: string) => void): PodSource {
  const changes = createImageChanges();
  const podWatch = informerOf(config, '/api/v1/pods', () => api.listPodForAllNamespaces());
  podWatch.informer.on('change', (pod: V1Pod) => changes.note(pod));
  podWatch.informer.on('delete', (pod: V1Pod) => changes.forget(pod));
  const namespaceWatch = informerOf(config, '/api/v1/namespaces', () => api.listNamespace());
  const tell = (resource: string, verbOf: (error: unknown) => string) => (error: unknown) =>
    warn(apiFault(error, { verb: verbOf(error), resource }).detail);
  const pods = follow<V1Pod>(podWatch.informer, tell('pods', podWatch.verbOf));
  const namespaces = follow<V1Namespace>(namespaceWatch.informer, tell('namespaces', namespaceWatch.verbOf));
  return {
    async pod(namespace, name, uid) {
      const known = pods.get(name, namespace);
      if (known?.metadata?.uid === uid) return known;
      // The watch may be behind: a pod asks as soon as it starts.
      const call = { verb: 'get', resource: 'pods', namespace };
      return unlessAbsent(api.readNamespacedPod({ name, namespace }), call);
    },
    async namespaceUid(name) {
      const found =
        namespaces.get(name) ??
        (await unlessAbsent(api.readNamespace({ name }), { verb: 'get', resource: 'namespaces' }));
      return found?.metadata?.uid;
    },
    changedIn: (pod) => changes.changedIn(pod),
    async close() {
      await Promise.all([pods.stop(), namespaces.stop()]);
    },
  };
}

/** It tells of a list and of a watch that failed in the same way: the verb is what a missing right is named by. */
function informerOf<T extends V1Pod | V1Namespace>(
  config: KubeConfig,
  path: string,
  list: () => Promise<KubernetesListObject<T>>,
) {
  let failed: unknown;
  const informer = makeInformer<T>(config, path, async () => {
    try {
      return await list();
    } catch (error) {
      failed = error;
      throw error;
    }
  });
  return { informer, verbOf: (error: unknown) => (error === failed ? 'list' : 'watch') };
}

async function unlessAbsent<T>(
  call: Promise<T>,
  described: Parameters<typeof apiFault>[1],
): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === 404) return undefined;
    throw apiFault(error, described);
  }
}

type Informer<T extends object> = ReturnType<typeof makeInformer> & {
  get(name: string, namespace?: string): T | undefined;
};

/** Starts it again whenever it ends; the first of a row of faults is told. */
export function follow<T extends V1Pod | V1Namespace>(
  informer: object,
  tell: (error: unknown) => void,
): Watched<T> {
  const watched = informer as Informer<T>;
  let timer: NodeJS.Timeout | undefined;
  let isTold = false;
  let isStopped = false;
  let faults = 0;
  /** A watch that broke is not believed before it goes on from where it was, or has listed again. */
  let isLive = false;
  watched.on('change', (object) => slim(object as T));
  /** Faults are events, and come before it has run through. */
  const start = async () => {
    const before = faults;
    await watched.start();
    if (faults !== before) return;
    isLive = true;
    isTold = false;
  };
  const restart = (error: unknown) => {
    if (isStopped) return;
    faults++;
    isLive = false;
    if (!isTold) tell(error);
    isTold = true;
    clearTimeout(timer);
    timer = setTimeout(() => start().catch(restart), RESTART_MS);
  };
  watched.on('error', restart);
  start().catch(restart);
  return {
    get: (name, namespace) => (isLive ? (watched.get(name, namespace) as T | undefined) : undefined),
    stop() {
      isStopped = true;
      clearTimeout(timer);
      return watched.stop();
    },
  };
}

/** The library keeps what it is given: what nobody asks for is dropped from it. */
function slim(object: V1Pod | V1Namespace): void {
  if (object.metadata) delete object.metadata.managedFields;
  const { spec } = object as V1Pod;
  if (spec === undefined || !('containers' in spec)) return;
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
    delete container.env;
    delete container.volumeMounts;
    delete container.resources;
  }
  delete spec.volumes;
  delete spec.affinity;
}
