CREATE OR REPLACE FUNCTION tidegate.log_touched() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    below timestamptz := 'infinity';
    since timestamptz := '-infinity';
    is_late boolean := false;
    at text := quote_ident(TG_ARGV[1]);
    changed text;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1953064037, TG_RELID::int4);
    -- In a statement of its own: its snapshot is taken once the lock is there.
    IF current_setting('transaction_isolation') = 'read committed' THEN
        SELECT closing, details_from INTO below, since FROM tidegate.rollups WHERE name = TG_ARGV[0];
    END IF;
    changed := concat_ws(' UNION ALL ',
        CASE WHEN TG_OP <> 'INSERT' THEN format('SELECT %s AS at FROM tidegate_old', at) END,
        CASE WHEN TG_OP <> 'DELETE' THEN format('SELECT %s AS at FROM tidegate_new', at) END);
    IF TG_OP <> 'DELETE' AND since > '-infinity' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM (%s) c WHERE at >= ''4713-01-01 00:00+00 BC'' '
            'AND at < $3 + interval ''1 hour'' AND date_trunc($1, at, $2) < $3)', changed)
            INTO is_late USING TG_ARGV[2], TG_ARGV[3], since;
    END IF;
    IF is_late THEN
        RAISE EXCEPTION 'what is before % is in the summary of rollup % alone', since, TG_ARGV[0]
            USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('INSERT INTO tidegate.rollup_touched (rollup, bucket) '
        'SELECT DISTINCT $1, date_trunc($2, at, $3) FROM (%s) c '
        'WHERE at >= ''4713-01-01 00:00+00 BC'' AND at < least($4 + interval ''1 hour'', '
        '''294276-01-01 00:00+00'') AND date_trunc($2, at, $3) < $4 AND date_trunc($2, at, $3) >= $5',
        changed) USING TG_ARGV[0], TG_ARGV[2], TG_ARGV[3], below, since;
    RETURN NULL;
END $function$;
CREATE OR REPLACE FUNCTION tidegate.refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    RAISE EXCEPTION 'the rollup % would not notice: use DELETE, or drop it first (tidegate rollup drop)',
        TG_ARGV[0] USING ERRCODE = 'feature_not_supported';
END $function$;
