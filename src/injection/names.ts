/** The names that injection gives to what it adds to a pod. */

/** Label: `mintmark.io/inject: "true"` asks for injection, `"false"` declines it. */
export const INJECT_LABEL = 'mintmark.io/inject';
/** Annotation of an injected pod: the version that did it. */
export const INJECTED_ANNOTATION = 'mintmark.io/injected';
/** What every annotation that injection reads begins with. */
export const PREFIX = 'mintmark.io/';

export const CONTAINER = 'mintmark';
export const SOCKET_VOLUME = 'mintmark-socket';
export const TOKEN_VOLUME = 'mintmark-token';

export const RUN_DIRECTORY = '/run/mintmark';
export const SOCKET = `${RUN_DIRECTORY}/api.sock`;
export const TOKENS_DIRECTORY = `${RUN_DIRECTORY}/tokens`;
export const AUTHORITY_TOKEN_DIRECTORY = '/var/run/secrets/mintmark';
/** Where Kubernetes would mount a token for its own API into every container that has nothing there. */
export const API_TOKEN_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The program's user in its image. */
export const UID = 65_532;
