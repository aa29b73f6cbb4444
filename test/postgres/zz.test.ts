import {it} from 'vitest'
import { startServer, postgres18, postgres15 } from '../support/servers.ts'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
for (const k of [postgres18, postgres15]) it('x', {timeout:300000}, async () => {
  const out: string[] = []
  const cache = '/root/.cache/agentgate-test'
  const progs: Record<string,string[]> = {pg: ['node','test/postgres/clients/node/pg-client.js'], porsager: ['node','test/postgres/clients/node/postgres-client.js'], psycopg: [cache+'/venv/bin/python','test/postgres/clients/python/psycopg_client.py'], asyncpg: [cache+'/venv/bin/python','test/postgres/clients/python/asyncpg_client.py'], sqlalchemy: [cache+'/venv/bin/python','test/postgres/clients/python/sqlalchemy_client.py'], jdbc: ['java','-cp',cache+'/java:'+cache+'/java/postgresql.jar','JdbcClient'], jdbcs: ['java','-cp',cache+'/java:'+cache+'/java/postgresql.jar','JdbcClient','preferQueryMode','simple'], pgx5: [cache+'/pgx5'], pgx4: [cache+'/pgx4']}
  const servers = [await startServer(k), await startServer(k)]
  for (const [n,c] of Object.entries(progs)) {
    const r = servers.map(s => spawnSync(c[0]!, c.slice(1), {encoding:'utf8', env: {PATH:process.env.PATH, HOME: '/root', TZ:'UTC', PYTHONIOENCODING:'utf-8', CLIENT_URL: s.appUrl+(n==='pgx4'||n==='pgx5'?'?sslmode=disable':''), CLIENT_JDBC_URL: `jdbc:postgresql://${s.address}/shop`, PGUSER:'app', PGPASSWORD: decodeURIComponent(new URL(s.appUrl).password)}}))
    console.log(k.name, n, r.map(x=>x.status), r[0]!.stdout === r[1]!.stdout, r[0]!.stdout.length, r[0]!.stderr.slice(-1500))
    r.forEach((x,i)=>writeFileSync(`/tmp/cl-${k.version}-${n}-${i}.txt`, x.stdout))
  }
  for (const s of servers) await s.stop()
})
