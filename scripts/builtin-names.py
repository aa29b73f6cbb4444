import re
names=[l.strip() for l in open('allnames') if l.strip()]
vol=set(l.strip() for l in list(open('v15'))+list(open('v18')))
safe_vol=set('''array_sample array_shuffle clock_timestamp current_query currval gen_random_uuid lastval pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_available_wal_summaries pg_blocking_pids pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_get_aios pg_get_backend_memory_contexts pg_get_loaded_modules pg_get_multixact_members pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wait_events pg_get_wal_replay_pause_state pg_get_wal_resource_managers pg_get_wal_summarizer_state pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_relation_size pg_replication_origin_progress pg_replication_origin_session_is_setup pg_replication_origin_session_progress pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_get_sequence_data pg_show_replication_origin_status pg_sleep pg_sleep_for pg_sleep_until pg_stat_clear_snapshot pg_stat_force_next_flush pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_io pg_stat_get_recovery_prefetch pg_stat_have_stats pg_table_size pg_tablespace_size pg_total_relation_size pg_wal_summary_contents pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status random random_normal setseed timeofday txid_status uuidv4 uuidv7'''.split())
safe_vol|={n for n in vol if n.startswith('pg_stat_get_xact_')}
special=set('table_to_xml table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema database_to_xml database_to_xml_and_xmlschema database_to_xmlschema pg_ls_dir pg_nextoid pg_cursor pg_prepared_statement pg_stat_get_activity pg_stat_get_backend_activity pg_stats_ext_mcvlist_items ts_rewrite pg_show_all_file_settings pg_hba_file_rules pg_ident_file_mappings pg_extension_config_dump'.split())
ok=[n for n in names if (n not in vol or n in safe_vol) and n not in special and not n.startswith('binary_upgrade') and not n.startswith('RI_FK') and n.lower()==n]
left=[n for n in names if n not in ok]
print('LEFT',' '.join(left))
import textwrap
body='\n'.join(textwrap.wrap(' '.join(ok),width=116,break_long_words=False,break_on_hyphens=False))
open('/work/wt/pganalysis/src/protocols/postgres/analysis/builtin-names.ts','w').write('''/**
 * Functions of pg_catalog (PostgreSQL 13 to 18) that change nothing and read nothing but their arguments and what any
 * role may see: all immutable and stable ones, and volatile ones that were read through, without those that
 * builtin-functions.ts knows more about. Written by scripts/builtin-names.py from pg_proc of PostgreSQL 15 and 18.
 */
export const harmlessBuiltins: ReadonlySet<string> = new Set(
  `
'''+body+'''
`
    .trim()
    .split(/\\s+/),
)
''')
