/** Settings of `doors.webhook`; all but the first two are those of `mintmark inject` too. */
import * as v from 'valibot';
import { numberPattern } from '../core/number-pattern.ts';
import { parseQuantity, SIDECAR_LEAST_MEMORY } from '../core/quantity.ts';

const DNS_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
export const IMAGE = /^[\w][\w.:/@-]{0,510}$/;
const AUTHORITY = /^https:\/\/[a-z0-9.[\]:-]{1,260}(?:\/[\w.~-]+)*$/;
const BYTE = `(?:${numberPattern(0, 255)})`;
const PORT = numberPattern(1024, 65_535);
const LISTEN = new RegExp(`^(?:${BYTE}(?:\\.${BYTE}){3}|\\[[0-9a-f:.]+\\]):(?:${PORT})$`);
const QUANTITY = /^\d{1,12}(?:\.\d{1,3})?(?:m|k|[KMG]i?)?$/;
const CONTROL = /\p{Cc}|\p{Zl}|\p{Zp}/u;

function text(form: RegExp, problem: string, description: string, example: string) {
  return v.pipe(v.string(), v.regex(form, problem), v.description(description), v.examples([example]));
}

function quantity(description: string, example: string) {
  return v.optional(text(QUANTITY, `must be a quantity such as ${example}`, description, example));
}

function quantities(description: string, fallback: { readonly cpu?: string; readonly memory?: string }) {
  const entries = { cpu: quantity('Processor time.', '100m'), memory: quantity('Memory.', '64Mi') };
  return v.optional(v.pipe(v.strictObject(entries), v.description(description)), () => fallback);
}

/** The API server refuses such a pod, and a sidecar with less dies as soon as it starts. */
const resources = v.pipe(
  v.strictObject({
    requests: quantities('What is set aside for it.', { cpu: '10m', memory: '48Mi' }),
    limits: quantities('What it may use.', { memory: '96Mi' }),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { requests, limits } = dataset.value;
    const report = (
      input: Readonly<Record<string, unknown>>,
      name: 'requests' | 'limits',
      key: string,
      message: string,
    ) => {
      const item = { type: 'object' as const, origin: 'value' as const };
      addIssue({
        message,
        path: [
          { ...item, input: dataset.value, key: name, value: input },
          { ...item, input, key, value: input[key] },
        ],
      });
    };
    for (const key of ['cpu', 'memory'] as const) {
      const [request, limit] = [requests[key], limits[key]];
      if (request !== undefined && limit !== undefined && parseQuantity(request) > parseQuantity(limit))
        report(
          requests,
          'requests',
          key,
          `is ${request} and above the limit of ${limit}: no pod could start`,
        );
    }
    const { memory } = limits;
    if (memory !== undefined && parseQuantity(memory) < parseQuantity(SIDECAR_LEAST_MEMORY))
      report(
        limits,
        'limits',
        'memory',
        `is ${memory}: ${SIDECAR_LEAST_MEMORY} is the least that it runs with`,
      );
  }),
  v.description("The sidecar's resources."),
);

/** What a sidecar is given: the common part of the webhook and the command. */
export const settings = v.strictObject({
  image: text(IMAGE, 'must name an image', "The sidecar's image.", 'ghcr.io/example/mintmark:0.1.0'),
  imagePullPolicy: v.optional(
    v.pipe(v.picklist(['Always', 'IfNotPresent', 'Never']), v.description('When the image is pulled.')),
  ),
  url: v.pipe(
    text(
      AUTHORITY,
      'must be an https URL without a final slash',
      'Where the sidecars reach `private` of the authority.',
      'https://mintmark.mintmark.svc:8443',
    ),
    v.check((url) => URL.canParse(url), 'is no URL'),
  ),
  audience: v.optional(
    v.pipe(
      v.string(),
      v.nonEmpty(),
      v.maxLength(255),
      v.check((audience) => !CONTROL.test(audience), 'has a control character'),
      v.description("The audience of a sidecar's own token: that of attestors.kubernetes."),
      v.examples(['mintmark']),
    ),
    'mintmark',
  ),
  statusListen: v.optional(
    v.pipe(
      text(
        LISTEN,
        'must be an IP address and a port from 1024 on',
        "Where a sidecar's status pages listen; [::]:9464 in a cluster of IPv6 only.",
        '0.0.0.0:9464',
      ),
      v.check((address) => URL.canParse(`http://${address}`), 'is no address and port'),
    ),
    '0.0.0.0:9464',
  ),
  resources: v.optional(resources, () => ({})),
  reuseFloor: v.optional(
    text(
      /^(?:off|[1-9]\d{0,3}[sm])$/,
      'must be a duration such as 60s or 1m, or off',
      'While the authority is away, a token with less life left is not given again; off: none ever is.',
      '1m',
    ),
    '1m',
  ),
  singleUse: v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.nonEmpty(), v.maxLength(255), v.description('An audience.'))),
      v.description('Audiences that take each token once: theirs are never given again.'),
    ),
    () => [],
  ),
});

export const config = v.strictObject({
  configuration: v.optional(
    text(
      DNS_NAME,
      'must be the name of an object in Kubernetes',
      'The MutatingWebhookConfiguration that is told of the CA, be it in caFile or made by Mintmark (`private.tls.bootstrap`); left out: somebody else does that.',
      'mintmark',
    ),
  ),
  caFile: v.optional(
    text(
      /^\/.+$/,
      'must be an absolute path',
      'PEM file of the CA that sidecars verify the authority by; default: the CA that Mintmark made itself, or those that every system trusts.',
      '/etc/mintmark-tls/ca.crt',
    ),
  ),
  maxInFlight: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(4096),
      v.description('Pods that are injected at once; each may take 4 MiB. The API server asks again.'),
      v.examples([64]),
    ),
    64,
  ),
  ...settings.entries,
});

export type WebhookConfig = v.InferOutput<typeof config>;
