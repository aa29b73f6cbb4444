import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { AgentgateError } from '../errors.ts'
import { PolicyInvalid } from '../policy/document.ts'
import { compileText } from '../policy/load.ts'
import { findPolicy, isTestFile, readPolicyFiles, type PolicyFiles } from '../policy/policy-files.ts'
import { positionOf } from '../policy/problem.ts'
import { readTestFile, runTestCase, type TestCase, type TestResult } from '../policy/test-cases.ts'
import type { Io } from './command.ts'
import { paintFor, wantsColour } from './paint.ts'
import { loadProtocols } from './protocols.ts'
import { escapeLine } from './ui/escape.ts'

interface TestOptions {
  readonly policy: string | undefined
  readonly files: readonly string[]
  readonly filter: string | undefined
  readonly json: boolean
}

/** Runs the cases of a policy, trusted or not: nothing of it is resolved or connected to. Returns the exit code. */
export async function runTests(options: TestOptions, io: Io): Promise<number> {
  const found = findPolicy({ path: options.policy, cwd: io.cwd, env: io.env })
  const files = readPolicyFiles(found, io.cwd)
  const compiled = await compileText(files, await loadProtocols())
  if (compiled.kind === 'wrong') throw new PolicyInvalid(files.name, compiled.problems)
  const cases = testFilesOf(options, files, io).flatMap(readCases)
  const chosen = cases.filter(each => options.filter === undefined || each.name.includes(options.filter))
  if (chosen.length === 0)
    throw new AgentgateError('USAGE', `no case has "${options.filter ?? ''}" in its name`, {
      hint: 'leave --filter away to run them all',
    })
  const paint = paintFor(wantsColour(io.stdout, io.env, io.argv))
  let failures = 0
  for (const each of chosen) {
    const result = await runTestCase(compiled.policy, each, Date.now())
    if (result.kind === 'failed') failures += 1
    if (options.json) io.stdout.write(`${JSON.stringify(caseEvent(result))}\n`)
    else if (result.kind === 'passed') io.stdout.write(`${paint.green('ok')}    ${escapeLine(each.name)}\n`)
    else
      io.stdout.write(
        `${paint.red('fail')}  ${escapeLine(each.name)}  ${paint.dim(placeOf(each))}\n        ${escapeLine(result.message)}\n`,
      )
  }
  const passed = chosen.length - failures
  if (options.json) io.stdout.write(`${JSON.stringify({ event: 'tested', passed, failed: failures })}\n`)
  else io.stdout.write(`${passed} passed, ${failures} failed\n`)
  return failures > 0 ? 7 : 0
}

interface CaseFile {
  readonly name: string
  readonly shown: string
  readonly bytes: Buffer
}

function testFilesOf(options: TestOptions, policy: PolicyFiles, io: Io): CaseFile[] {
  const paths =
    options.files.length > 0
      ? options.files.map(file => path.resolve(io.cwd, file))
      : readdirSync(policy.folder)
          .filter(isTestFile)
          .sort()
          .map(name => path.join(policy.folder, name))
  if (paths.length === 0)
    throw new AgentgateError('USAGE', `there are no cases beside ${policy.name}`, {
      hint: `write some into ${path.join(path.relative(io.cwd, policy.folder), 'agentgate.test.yaml')}; docs/policy.md shows how`,
    })
  return paths.map(file => {
    try {
      const name = path.basename(file)
      return { name, shown: path.relative(io.cwd, file) || name, bytes: readFileSync(file) }
    } catch (error) {
      throw new AgentgateError('USAGE', `${file} cannot be read`, { hint: `ls -l ${file}`, cause: error })
    }
  })
}

function readCases(file: CaseFile): readonly TestCase[] {
  const read = readTestFile(file)
  if (read.kind === 'wrong') throw new PolicyInvalid(file.name, read.problems)
  return read.cases
}

function placeOf(test: TestCase): string {
  return `${test.place.source.shown}:${positionOf(test.place).line}`
}

function caseEvent(result: TestResult) {
  const { name, given } = result.case
  const about = { event: 'case', name, place: placeOf(result.case), statement: given.statement, expected: given.expect }
  return result.kind === 'passed'
    ? { ...about, passed: true }
    : { ...about, passed: false, message: result.message, ...(result.got === undefined ? {} : { got: result.got }) }
}
