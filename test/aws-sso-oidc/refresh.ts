/** A program that has its token from the SDK's SSO provider; an argument is the endpoint. */
import { fromSso } from '@aws-sdk/token-providers';

const [endpoint] = process.argv.slice(2);
const clientConfig = endpoint === undefined ? {} : { endpoint };
process.stdout.write(JSON.stringify(await fromSso({ profile: 'acme', clientConfig })()));
