import { Option, type Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { moment } from './moment.ts'
import type { ReportOptions } from './report-run.ts'
import { reportFormats, reportNames, type ReportName } from './report/report.ts'

export function configure(command: Command, io: Io): void {
  command
    .argument('<what>', `${reportNames.join(', ')} or evidence`)
    .addOption(new Option('--from <time>', 'a date, a time, or how long ago, such as 30d').argParser(moment))
    .addOption(new Option('--to <time>', 'the same; now where not said').argParser(moment))
    .addOption(new Option('--format <format>', 'what to write').choices(reportFormats))
    .option('-o, --output <file>', 'write to a file, for you alone to read')
    .option('--out <folder>', 'evidence: the folder to make, or the file where it ends in .zip')
    .option('--key <file>', 'evidence: the broker’s public key: nothing counts that it has not certified')
    .addOption(
      new Option('--recordings <folder>', "where recordings are; else this user's own").env('AGENTGATE_RECORDINGS'),
    )
    .addOption(
      new Option('--copies <place>', 'read copies there instead: s3://bucket/prefix or file:///folder').conflicts(
        'recordings',
      ),
    )
    .action(async (what: string, flags: ReportOptions) => {
      const { runReport } = await import('./report-run.ts')
      await runReport(what as ReportName | 'evidence', flags, readGlobals(command, io), io)
    })
  examples(command, [
    ['agentgate report access --from 30d', 'who opened what'],
    [
      'agentgate report denials --from 2026-10-01 --to 2026-12-31 --format csv -o q4.csv',
      'what was refused, and by which rule',
    ],
    ['agentgate report coverage', 'connections at the target that no tunnel claims: a stolen credential shows'],
    ['agentgate report evidence --from 90d --out q4.zip', 'reports, verified, with what verifies them, for an auditor'],
  ])
  exitCodes(command, [
    [0, 'written'],
    [6, 'the bucket or a target does not answer'],
    [7, 'a recording was altered, or a connection is claimed by nobody'],
  ])
}
