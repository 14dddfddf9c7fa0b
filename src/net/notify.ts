/** Telling the service manager how we are: sd_notify(3). */
import { sendUnixDatagram } from './kernel.ts';

/**
 * Sends `text` (for example `READY=1`) to NOTIFY_SOCKET's `address`. False
 * where there is no address, or it is none that we can send to. Throws the kernel's error.
 */
export function notify(address: string | undefined, text: string): boolean {
  if (address === undefined || !/^[/@]./.test(address)) return false;
  sendUnixDatagram(address, text);
  return true;
}
