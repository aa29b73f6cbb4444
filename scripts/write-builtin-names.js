// Writes src/protocols/postgres/analysis/builtin-names.ts from the catalogues of the servers that are named, the oldest and the
// newest at least: node scripts/write-builtin-names.js postgresql://…:5415/postgres postgresql://…:5418/postgres
// What is left out is printed; what of that is volatile and new has to be read through before it is put below.
import { writeFileSync } from 'node:fs'
import pg from 'pg'

/** Volatile functions that were read through: they change nothing that counts, and read nothing of tables. */
const readThrough = words(`
array_sample array_shuffle clock_timestamp current_query currval gen_random_uuid lastval pg_advisory_lock
pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_available_wal_summaries pg_blocking_pids
pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_get_aios
pg_get_backend_memory_contexts pg_get_loaded_modules pg_get_multixact_members pg_get_sequence_data
pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wait_events pg_get_wal_replay_pause_state
pg_get_wal_resource_managers pg_get_wal_summarizer_state pg_indexes_size pg_is_in_recovery
pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_relation_size
pg_replication_origin_progress pg_replication_origin_session_is_setup pg_replication_origin_session_progress
pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_show_replication_origin_status pg_sleep pg_sleep_for
pg_sleep_until pg_stat_clear_snapshot pg_stat_force_next_flush pg_stat_get_backend_io pg_stat_get_backend_wal
pg_stat_get_io pg_stat_get_recovery_prefetch pg_stat_have_stats pg_table_size pg_tablespace_size
pg_total_relation_size pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock
pg_try_advisory_xact_lock_shared pg_wal_summary_contents pg_xact_commit_timestamp
pg_xact_commit_timestamp_origin pg_xact_status random random_normal setseed timeofday txid_status uuidv4
uuidv7
`)
/** Stable ones that show what others do or what tables hold. */
const special = words(`
database_to_xml database_to_xml_and_xmlschema database_to_xmlschema pg_cursor pg_extension_config_dump
pg_hba_file_rules pg_ident_file_mappings pg_ls_dir pg_nextoid pg_prepared_statement pg_show_all_file_settings
pg_stat_get_activity pg_stat_get_backend_activity pg_stats_ext_mcvlist_items schema_to_xml
schema_to_xml_and_xmlschema schema_to_xmlschema table_to_xml table_to_xml_and_xmlschema table_to_xmlschema
ts_rewrite
`)

function words(text) {
  return new Set(text.trim().split(/\s+/))
}

const names = new Set()
const volatile = new Set()
for (const connectionString of process.argv.slice(2)) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  const { rows } = await client.query(
    `select proname, bool_or(provolatile = 'v') as volatile from pg_proc
      where pronamespace = 'pg_catalog'::regnamespace
        and not proargtypes::oid[] && array['internal'::regtype::oid, 'cstring'::regtype::oid] -- made for the server's own calls
      group by proname`,
  )
  await client.end()
  for (const row of rows) {
    names.add(row.proname)
    if (row.volatile) volatile.add(row.proname)
  }
}

const isHarmless = name =>
  (!volatile.has(name) || readThrough.has(name) || name.startsWith('pg_stat_get_xact_')) &&
  !special.has(name) &&
  !/^(binary_upgrade|RI_FK)/.test(name) &&
  name === name.toLowerCase()
const sorted = [...names].sort()
console.log('left out:', sorted.filter(name => !isHarmless(name)).join(' '))

const lines = ['']
for (const name of sorted.filter(isHarmless)) {
  const line = lines.at(-1)
  if (line.length + name.length + 1 > 116) lines.push(name)
  else lines[lines.length - 1] = line === '' ? name : `${line} ${name}`
}
writeFileSync(
  new URL('../src/protocols/postgres/analysis/builtin-names.ts', import.meta.url),
  `/**
 * Functions of pg_catalog (PostgreSQL 13 to 18) that change nothing and read nothing but their arguments and what any
 * role may see: all immutable and stable ones, and volatile ones that were read through, without those that
 * builtin-functions.ts knows more about. Written by scripts/write-builtin-names.js from pg_proc of PostgreSQL 15 and 18.
 */
export const harmlessBuiltins: ReadonlySet<string> = new Set(
  \`
${lines.join('\n')}
\`
    .trim()
    .split(/\\s+/),
)
`,
)
