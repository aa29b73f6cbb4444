import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { agentgateBin, Place, shopEnvironment, shopPolicy } from '../support/agentgate.ts'
import { newFolder } from '../support/folder.ts'
import { describeWith, program } from '../support/needs.ts'
import { startProgram } from '../support/processes.ts'
import { postgres18, startServer, type TestServer } from '../support/servers.ts'

const needs = [
  program('bwrap', 'apt-get install bubblewrap'),
  postgres18.need,
  ...['git', 'make', 'python3', 'psql', 'curl'].map(name => program(name)),
]

describeWith('ordinary work inside', needs, () => {
  let server: TestServer
  let place: Place
  let args: readonly string[] = []
  let work = ''
  beforeAll(async () => {
    server = await startServer(postgres18)
    place = new Place(shopPolicy(server), shopEnvironment)
    args = await place.trusted()
    writeFileSync(path.join(place.folder, '.gitconfig'), '[user]\n\tname = Maria\n\temail = maria@example.com\n')
  })
  afterAll(async () => await server.stop())
  beforeEach(() => {
    work = newFolder('work')
    execFileSync('git', ['init', '-q', '-b', 'main', work])
  })

  const put = (name: string, content: string) => {
    mkdirSync(path.dirname(path.join(work, name)), { recursive: true })
    writeFileSync(path.join(work, name), content)
  }
  const sh = async (script: string, more: readonly string[] = []) =>
    await place.run(['exec', '-r', 'shop', ...args, ...more, '--', '/bin/sh', '-c', script], {
      cwd: work,
      deadlineMs: 60_000,
    })

  it('commits, branches, merges, stashes and rebases with git', async () => {
    put('a.txt', 'one\n')
    const ended = await sh(`set -e
git add . && git commit -qm first
git switch -qc side && echo two >> a.txt && git commit -qam second
git switch -q main && echo b > b.txt && git add b.txt && git commit -qm third
git rebase -q main side && git switch -q main && git merge -q --ff-only side
echo dirty >> a.txt && git stash -q && git stash pop -q && git checkout -q a.txt
git tag v1 && git worktree add -q ../work-tree 2>/dev/null || true
git log --format='%an %s'; git fsck --no-dangling`)
    expect(ended).toMatchObject({ code: 0, stdout: 'Maria second\nMaria third\nMaria first\n' })
    expect(execFileSync('git', ['-C', work, 'log', '--format=%s', '-1'], { encoding: 'utf8' })).toBe('second\n')
  })

  it('builds with make, in parallel, and runs what it has built', async () => {
    put('Makefile', 'all: a b\n\tcat a b > all\na b:\n\tprintf "$@ " > $@\n')
    expect(await sh('make -s -j4 && cat all')).toMatchObject({ code: 0, stdout: 'a b ' })
    put('run.sh', '#!/bin/sh\necho built\n')
    chmodSync(path.join(work, 'run.sh'), 0o755)
    expect(await sh('./run.sh')).toMatchObject({ code: 0, stdout: 'built\n' })
  })

  it('runs the tests of a project in node and in python', async () => {
    put(
      'sum.test.mjs',
      `import test from 'node:test'\nimport { spawnSync } from 'node:child_process'\ntest('adds', () => { if (spawnSync('true').status !== 0) throw 1 })\n`,
    )
    put(
      'test_sum.py',
      'import multiprocessing, tempfile, threading, unittest\ndef two(x): return 2 * x\nclass Sum(unittest.TestCase):\n    def test_adds(self):\n        with tempfile.NamedTemporaryFile() as file: file.write(b"x")\n        with multiprocessing.Pool(2) as pool: self.assertEqual(pool.map(two, [1, 2]), [2, 4])\n',
    )
    const node = await sh('node --test')
    expect(node.stdout).toMatch(/# pass 1|ℹ pass 1/)
    expect(node.code).toBe(0)
    const python = await sh('python3 -m unittest -q')
    expect(python.stderr).toMatch(/OK/)
    expect(python.code).toBe(0)
  })

  it('asks the database through its tunnel, with what is in the environment', async () => {
    const ended = await sh(
      `psql -XAtc 'select count(*) > 0 from customers'; psql -XAt "$AGENTGATE_SHOP_URL" -c 'select 2'`,
    )
    expect(ended).toMatchObject({ code: 0, stdout: 't\n2\n' })
    const other = await sh(`psql -XAtc 'select 1' "${server.superuserUrl()}"`)
    expect(other.code).toBe(2)
    expect(other.stderr).toMatch(/refused|unreachable/)
  })

  it('serves on loopback, to itself alone', async () => {
    put(
      'server.mjs',
      `import http from 'node:http'
http.createServer((_, answer) => answer.end('served')).listen(8123, '0.0.0.0', async () => {
  console.log(await (await fetch('http://localhost:8123/')).text())
  process.exit()
})`,
    )
    expect(
      await sh(
        'node server.mjs & python3 -m http.server 8124 --bind 127.0.0.1 >/dev/null 2>&1 & until curl -s -o /dev/null http://127.0.0.1:8124/; do sleep 0.1; done; curl -sS -o /dev/null -w "%{http_code}\\n" http://127.0.0.1:8124/; wait %1',
      ),
    ).toMatchObject({
      stdout: 'served\n200\n',
    })
    const running = startProgram(
      agentgateBin,
      ['exec', '-r', 'shop', ...args, '--', 'python3', '-u', '-m', 'http.server', '8125'],
      { cwd: work, env: place.env },
    )
    try {
      await running.said(/8125/)
      await expect(fetch('http://127.0.0.1:8125/')).rejects.toThrow()
    } finally {
      running.child.kill('SIGTERM')
      await running.finished()
    }
  })

  it('keeps temporary files, a home and shared memory of its own, gone afterwards', async () => {
    const name = path.basename(work)
    const ended = await sh(
      `echo x > /tmp/${name}; echo y > ~/${name}; echo z > /dev/shm/${name}; mktemp >/dev/null && cat /tmp/${name} ~/${name} /dev/shm/${name}`,
    )
    expect(ended).toMatchObject({ code: 0, stdout: 'x\ny\nz\n' })
    for (const folder of ['/tmp', place.folder, '/dev/shm']) expect(existsSync(path.join(folder, name))).toBe(false)
  })

  it('leaves what it wrote in the working folder as one’s own', async () => {
    await sh('mkdir -p deep/er && echo kept > deep/er/file && ln -s deep link && chmod 600 deep/er/file')
    expect(readFileSync(path.join(work, 'link/er/file'), 'utf8')).toBe('kept\n')
    expect(execFileSync('git', ['-C', work, 'status', '--short'], { encoding: 'utf8' })).toBe('?? deep/\n?? link\n')
  })
})
