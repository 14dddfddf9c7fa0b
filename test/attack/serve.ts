/** The attesting server as a program, to run in namespaces and as other users: serve.ts PATH [strict]. */
import { forbidDumping } from '../../src/net/kernel.ts';
import { serve } from './server.ts';

const [path = '', ...flags] = process.argv.slice(2);
forbidDumping();
await serve(path, { strict: flags.includes('strict') });
console.log('ready');
process.stdin.on('end', () => process.exit(0)).resume();
