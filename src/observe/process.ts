/** Figures of the process: prom-client's collectors that cost nothing between two scrapes. */
import { performance } from 'node:perf_hooks';
import { Counter, type Registry } from 'prom-client';
import memory from 'prom-client/lib/metrics/osMemoryHeap.js';
import cpu from 'prom-client/lib/metrics/processCpuTotal.js';
import maxFileDescriptors from 'prom-client/lib/metrics/processMaxFileDescriptors.js';
import openFileDescriptors from 'prom-client/lib/metrics/processOpenFileDescriptors.js';
import startTime from 'prom-client/lib/metrics/processStartTime.js';

/** process_cpu_…, process_resident_memory_bytes, process_open_fds, process_max_fds, process_start_time_seconds. */
export function collectProcess(registry: Registry): void {
  for (const collector of [cpu, memory, openFileDescriptors, maxFileDescriptors, startTime])
    collector(registry);
  let counted = 0;
  new Counter({
    name: 'mintmark_event_loop_active_seconds_total',
    help: 'Time that the event loop was busy; its rate is the utilization, and near 1 callers wait.',
    registers: [registry],
    collect() {
      const active = performance.eventLoopUtilization().active / 1000;
      this.inc(Math.max(0, active - counted));
      counted = active;
    },
  });
}
