import type { Recorder } from './recorder.ts'

/** A recorder that does what another one does, but for `changes`. */
export function recorderOver(recorder: Recorder, changes: Partial<Recorder>): Recorder {
  return {
    path: recorder.path,
    append: event => recorder.append(event),
    commit: () => recorder.commit(),
    result: event => recorder.result(event),
    head: () => recorder.head(),
    boundary: () => recorder.boundary(),
    sealed: async () => await recorder.sealed(),
    ...(recorder.durable === undefined ? {} : { durable: async () => await recorder.durable?.() }),
    close: async (reason, exitCode) => await recorder.close(reason, exitCode),
    ...changes,
  }
}
