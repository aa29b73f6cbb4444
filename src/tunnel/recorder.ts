import type { RecordedEvent } from '../recording/event.ts'

/** What the tunnel needs of a recording; src/recording/recorder.ts is one. */
export interface Recorder {
  /** Chains and buffers an event; returns its sequence number. @throws AgentgateError RECORDING_FAILED */
  append(event: RecordedEvent): number
  /** Writes what is buffered. @throws AgentgateError RECORDING_FAILED */
  commit(): void
  /** Bytes of a result; a promise when the spool is behind. */
  result(event: Extract<RecordedEvent, { kind: 'result' }>): void | Promise<void>
  /** Where an action has to wait until it is on record elsewhere. @throws AgentgateError RECORDING_FAILED: it may not run */
  durable?(): Promise<void>
  close(reason: string, exitCode: number | null): Promise<void>
}
