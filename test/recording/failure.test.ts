import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Recorder } from '../../src/recording/recorder.ts'
import { recover } from '../../src/recording/recover.ts'
import { verifyRecording } from '../../src/recording/verify.ts'
import { c1, readAll, recordStatement, sampleAction, sampleRecorder, temporaryFolder } from './sample.ts'
import { smallDisk } from './small-disk.ts'

afterEach(() => vi.restoreAllMocks())

const errno = (code: string) => Object.assign(new Error(code), { code })

function statement(recorder: Recorder, text: string): void {
  recorder.append(sampleAction(text))
  recorder.commit()
}

describe('a disk that fails', () => {
  it.each([
    ['ENOSPC', 'the disk is full'],
    ['EIO', 'the disk reports an error'],
    ['EROFS', 'the file system is read-only'],
    ['EDQUOT', 'the disk quota is used up'],
  ])('%s: nothing may be forwarded, people are told once, and it goes on when it can', async (code, says) => {
    using folder = temporaryFolder()
    const warnings: string[] = []
    const recorder = sampleRecorder(folder.path, { onWarning: text => warnings.push(text) })
    statement(recorder, 'select 1')

    const write = vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw errno(code)
    })
    for (const _ of [1, 2])
      expect(() => statement(recorder, 'select 2')).toThrow(expect.objectContaining({ code: 'RECORDING_FAILED' }))
    expect(warnings).toEqual([`cannot write the recording in ${recorder.path}: ${says}; nothing is forwarded`])

    write.mockRestore()
    statement(recorder, 'select 3')
    expect(warnings.at(-1)).toBe('the recording can be written again')
    await recorder.close('', 0)
    const { events } = await readAll(recorder.path)
    expect(events.flatMap(({ event }) => (event.kind === 'action' ? [event.view.text] : []))).toEqual([
      'select 1',
      'select 2',
      'select 2',
      'select 3',
    ])
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('a write that stops half-way leaves no half event, even where it cannot be cut back', async () => {
    using folder = temporaryFolder()
    for (const truncates of [true, false]) {
      const recorder = sampleRecorder(folder.path)
      statement(recorder, 'select 1')
      const real = fs.writeSync
      let calls = 0
      const write = vi.spyOn(fs, 'writeSync').mockImplementation(((
        descriptor: number,
        buffer: Buffer,
        offset: number,
        length: number,
        position: number,
      ) => {
        calls += 1
        if (calls > 1) throw errno('ENOSPC')
        return real(descriptor, buffer, offset, Math.floor(length / 2), position)
      }) as typeof fs.writeSync)
      if (!truncates)
        vi.spyOn(fs, 'ftruncateSync').mockImplementation(() => {
          throw errno('EIO')
        })
      expect(() => statement(recorder, 'select 2')).toThrow('the disk is full')
      const meanwhile = await readAll(recorder.path)
      expect(meanwhile.problems).toEqual([])
      expect(meanwhile.events).toHaveLength(2)
      expect(meanwhile.end.torn > 0).toBe(!truncates)
      write.mockRestore()
      vi.restoreAllMocks()
      statement(recorder, 'select 3')
      await recorder.close('', 0)
      expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole', events: 5 })
    }
  })

  it('results that cannot be kept are refused too', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    const action = recorder.append(sampleAction('copy'))
    recorder.commit()
    const write = vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw errno('ENOSPC')
    })
    const bytes = Buffer.alloc(64 * 1024)
    const give = () => {
      for (let count = 0; count < 100; count++) void recorder.result({ kind: 'result', connection: c1, action, bytes })
    }
    expect(give).toThrow(expect.objectContaining({ code: 'RECORDING_FAILED' }))
    write.mockRestore()
    await recorder.close('', 1)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('after a failed fsync it stays failed, as nobody knows what the disk has', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path, { limits: { fsync: 'event' } })
    const sync = vi.spyOn(fs, 'fdatasyncSync').mockImplementation(() => {
      throw errno('EIO')
    })
    expect(() => statement(recorder, 'select 1')).toThrow('the disk reports an error')
    sync.mockRestore()
    expect(() => statement(recorder, 'select 2')).toThrow('the disk reports an error')
    await expect(recorder.close('', 1)).rejects.toThrow('the disk reports an error')
  })

  it('a folder that was removed is noticed, though writing to it succeeds', async () => {
    using folder = temporaryFolder()
    const recorder = sampleRecorder(folder.path)
    statement(recorder, 'select 1')
    fs.rmSync(recorder.path, { recursive: true })
    await vi.waitFor(() => expect(() => statement(recorder, 'select 2')).toThrow('has been removed'))
    expect(() => statement(recorder, 'select 3')).toThrow('has been removed')
    await expect(recorder.close('', 1)).rejects.toThrow('has been removed')
  })

  it('a segment that cannot be made leaves the journal, and is made later', async () => {
    using folder = temporaryFolder()
    const warnings: string[] = []
    let broken = true
    const { LocalSealer } = await import('../../src/recording/sealer.ts')
    const sealer = new LocalSealer()
    const recorder = sampleRecorder(folder.path, {
      limits: { segmentBytes: 2000 },
      onWarning: text => warnings.push(text),
      sealer: {
        seal: async job => {
          if (broken) throw errno('ENOSPC')
          return await sealer.seal(job)
        },
        close: async () => await sealer.close(),
      },
    })
    for (let count = 0; count < 20; count++) recordStatement(recorder, `select ${count}`, Buffer.from('x'))
    recorder.commit()
    await vi.waitFor(() => expect(warnings).toHaveLength(1))
    expect(warnings[0]).toContain('they are safe in the journal')
    expect((await readAll(recorder.path)).events).toHaveLength(61)
    broken = false
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })

  it('a quota is warned of at 80 % and then kept', async () => {
    using folder = temporaryFolder()
    const warnings: string[] = []
    const recorder = sampleRecorder(folder.path, {
      limits: { spoolBytes: 1_000_000 },
      onWarning: text => warnings.push(text),
    })
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const fill = () => {
        for (let count = 0; count < 200; count++) {
          vi.advanceTimersByTime(2000)
          statement(recorder, `select '${'x'.repeat(10_000)}'`)
        }
      }
      expect(fill).toThrow(/recordings have used up their 1.0 MB/)
      expect(warnings).toEqual([expect.stringMatching(/recordings have used 0.8 MB of 1.0 MB/)])
    } finally {
      vi.useRealTimers()
    }
    expect((await readAll(recorder.path)).problems).toEqual([])
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
  })
})

describe('a real disk that is full', () => {
  it('stops forwarding after a warning, loses nothing acknowledged, and goes on once there is room', async context => {
    using folder = temporaryFolder()
    using disk = smallDisk(folder.path, '2m')
    if (disk === undefined) return context.skip('needs to mount a tmpfs')
    const warnings: string[] = []
    const recorder = sampleRecorder(folder.path, { onWarning: text => warnings.push(text) })
    const acknowledged: string[] = []
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const fill = () => {
        for (;;) {
          vi.advanceTimersByTime(2000)
          const text = `select ${acknowledged.length} ${'x'.repeat(5000)}`
          statement(recorder, text)
          acknowledged.push(text)
        }
      }
      expect(fill).toThrow(/the disk is full/)
    } finally {
      vi.useRealTimers()
    }
    expect(warnings[0]).toMatch(/are left on the disk of the recordings/)
    expect(warnings[1]).toMatch(/the disk is full; nothing is forwarded/)
    const read = async () =>
      (await readAll(recorder.path)).events.flatMap(({ event }) => (event.kind === 'action' ? [event.view.text] : []))
    expect((await read()).slice(0, acknowledged.length)).toEqual(acknowledged)
    expect((await readAll(recorder.path)).problems).toEqual([])

    disk.grow('20m')
    statement(recorder, 'select now')
    expect(warnings.at(-1)).toBe('the recording can be written again')
    await recorder.close('', 0)
    expect(await verifyRecording(recorder.path, Date.now())).toMatchObject({ result: 'whole' })
    expect((await read()).at(-1)).toBe('select now')
  })

  it('a session that ends on a full disk is taken up at the next start', async context => {
    using folder = temporaryFolder()
    using disk = smallDisk(folder.path, '1m')
    if (disk === undefined) return context.skip('needs to mount a tmpfs')
    const recorder = sampleRecorder(folder.path)
    for (let count = 0; count < 10; count++) statement(recorder, `select ${count} ${'y'.repeat(5000)}`)
    fs.writeFileSync(path.join(folder.path, 'ballast'), '')
    const fill = () => {
      for (;;) fs.appendFileSync(path.join(folder.path, 'ballast'), Buffer.alloc(4096))
    }
    expect(fill).toThrow('ENOSPC')
    await expect(recorder.close('', 0)).rejects.toThrow(expect.objectContaining({ code: 'RECORDING_FAILED' }))
    fs.rmSync(path.join(folder.path, 'ballast'))
    expect(await recover(folder.path, Date.now() + 3_600_000)).toMatchObject([{ kind: 'recovered' }])
    expect((await readAll(recorder.path)).events.filter(({ event }) => event.kind === 'action')).toHaveLength(10)
  })
})
