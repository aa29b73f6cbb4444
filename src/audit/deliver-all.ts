import fs from 'node:fs'
import path from 'node:path'
import type { Environment } from '../config/paths.ts'
import { Delivery } from './delivery.ts'
import { readSettings } from './outbox.ts'
import { sweep } from './outbox-reader.ts'
import { sinkReports, type SinkReport } from './sink-state.ts'
import { openSink } from './sinks/open-sink.ts'

/** Delivers what waits in every outbox of this user, for so long; what sessions are running deliver themselves is left to them. */
export async function deliverAll(root: string, env: Environment, milliseconds: number): Promise<SinkReport[]> {
  for (const name of fs.readdirSync(root)) {
    const outbox = path.join(root, name)
    const settings = readSettings(outbox)
    if (settings === null) continue
    const { plan, folder } = settings
    const names = plan.sinks.map(sink => sink.name)
    const deliveries = plan.sinks.map(
      sink =>
        new Delivery({
          outbox,
          name: sink.name,
          maxBytes: plan.outboxBytes,
          open: async () => await openSink(sink, env, folder),
          onDelivered: () => undefined,
          onUnreadable: () => undefined,
          onWarning: () => undefined,
        }),
    )
    await Promise.all(deliveries.map(async delivery => await delivery.finish(milliseconds)))
    // What was lost is told by the next that has an outbox of its own.
    if (deliveries.length > 0) sweep(outbox, names, null)
  }
  return sinkReports(root)
}
