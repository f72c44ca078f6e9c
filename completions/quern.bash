# bash completion of quern; made by quern help --bash from the table of options.
_quern()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local command=${COMP_WORDS[1]} flags= values=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "embed similarity tokenize chunk model add source fill work enqueue forget export import vector generation requeue migrate search similar status verify cache shard bench tune doctor help --help --version" -- "$word"))
        return
    fi
    case $command in
        model)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "pull import list info verify quantize remove" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
        source)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "add set list show remove" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
        generation)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "list build activate retire purge sql" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
        vector)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "get put delete" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
        cache)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "stats keys contains remove warm export import expire resize clear" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
        shard)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "plan apply status" -- "$word"))
                return
            fi
            command="$command ${COMP_WORDS[2]}" ;;
    esac
    case $before in
        --enabled) values="yes no" ;;
        --as) values="query document" ;;
        --format) values="jsonl json npy f32 base64 auto text csv bincode" ;;
        --invalid-utf8) values="error replace" ;;
        --pooling) values="cls max mean mean_sqrt_len lasttoken" ;;
        --auto-pull) values="yes no" ;;
        --precision) values="auto fp32 int8 bf16 fp16 int4" ;;
        --backend) values="native ort auto" ;;
        --device) values="cpu cuda auto" ;;
        --ort-optimization) values="disabled basic extended all" ;;
        --mmap) values="yes no" ;;
        --batching) values="fixed dynamic adaptive" ;;
        --cache) values="auto yes no" ;;
        --text-search) values="yes no" ;;
        --keep-text) values="yes no" ;;
        --live) values="yes no" ;;
        --list) values="pending failed stale empty dead" ;;
        --kind) values="exact ann two-stage" ;;
        --mode) values="vector text hybrid" ;;
        --fallback) values="text previous none" ;;
        --index) values="auto exact pgvector two-stage" ;;
        --vector-type) values="f16 f32" ;;
        --preset) values="high-performance low-memory" ;;
        --log-level) values="error warn info debug" ;;
        --log-format) values="text json" ;;
        --ca-file|--ort-library|--cache-file|--config) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if [ -n "$values" ]; then
        COMPREPLY=($(compgen -W "$values" -- "$word"))
        return
    fi
    case $command in
        "embed") flags="--model --models --enabled --as --format --jsonl --truncate --no-normalize --invalid-utf8 --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --max-tokens --max-price --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --asset --max-assets --price --model-price --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "similarity") flags="--model --models --enabled --as --truncate --invalid-utf8 --matrix --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "tokenize") flags="--model --models --jsonl --invalid-utf8 --model-url --auto-pull --offline --timeout --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "chunk") flags="--model --models --jsonl --invalid-utf8 --model-url --auto-pull --offline --timeout --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --prepare --max-chunks --overlap --headings --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model pull") flags="--models --model-url --offline --timeout --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model import") flags="--models --name --dimension --pooling --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model list") flags="--models --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model info") flags="--models --estimate --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model verify") flags="--models --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model quantize") flags="--models --precision --force --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "model remove") flags="--models --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "add") flags="--db --store --schema --direct-url --wal --source --format --id-field --text --sync --keep-text --max-document --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "source add") flags="--db --store --schema --direct-url --wal --text --table --query --key --revision --where --meta --prepare --text-search --keep-text --stamp-columns --assets --max-assets --live --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "source set") flags="--db --store --schema --direct-url --wal --text --table --query --key --revision --where --meta --prepare --text-search --keep-text --stamp-columns --assets --max-assets --live --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "source list") flags="--db --store --schema --direct-url --wal --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "source show") flags="--db --store --schema --direct-url --wal --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "source remove") flags="--db --store --schema --direct-url --wal --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "fill") flags="--db --store --schema --direct-url --wal --source --model --models --enabled --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --max-tokens --max-price --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --batching --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --limit --index --since --dry-run --price --model-price --force --full --allow-empty --wait --max-chunks --overlap --headings --vector-type --max-document --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "work") flags="--db --store --schema --direct-url --source --model --models --enabled --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --max-tokens --max-price --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --batching --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --limit --after --index --price --model-price --max-chunks --overlap --headings --vector-type --max-document --once --interval --cron --window --max-per-run --backstop-interval --claim --lease --tick --max-attempts --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "enqueue") flags="--db --store --schema --direct-url --source --reason --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "forget") flags="--db --store --schema --direct-url --source --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "export") flags="--db --store --schema --direct-url --source --force --generation --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "import") flags="--db --store --schema --direct-url --source --model --models --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --where --index --dry-run --wait --max-chunks --overlap --headings --vector-type --sample --all --seed --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "vector get") flags="--db --store --schema --direct-url --source --format --generation --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "vector put") flags="--db --store --schema --direct-url --source --format --fingerprint --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "vector delete") flags="--db --store --schema --direct-url --source --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation list") flags="--db --store --schema --direct-url --source --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation build") flags="--db --store --schema --direct-url --source --model --models --enabled --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --max-tokens --max-price --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --batching --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --where --limit --index --dry-run --price --model-price --allow-empty --wait --max-chunks --overlap --headings --vector-type --max-document --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation activate") flags="--db --store --schema --direct-url --source --force --report --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation retire") flags="--db --store --schema --direct-url --force-active --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation purge") flags="--db --store --schema --direct-url --source --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "generation sql") flags="--db --store --schema --direct-url --kind --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "requeue") flags="--db --store --schema --direct-url --source --key --where --all --failed --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "migrate") flags="--db --store --schema --direct-url --dry-run --check --print --down --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "search") flags="--db --store --schema --direct-url --source --model --models --enabled --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --where --limit --min-similarity --mode --fallback --query-timeout --filter --exclude --chunks --mmr --index --shard-timeout --oversample --partial --provenance --explain --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "similar") flags="--db --store --schema --direct-url --source --model --models --enabled --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --where --limit --min-similarity --filter --exclude --chunks --mmr --index --shard-timeout --oversample --partial --provenance --explain --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "status") flags="--db --store --schema --direct-url --source --model --models --enabled --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --key --limit --list --after --runs --usage --watch --price --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "verify") flags="--db --store --schema --direct-url --source --model --models --enabled --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --sample --all --seed --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache stats") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache keys") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache contains") flags="--model --models --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache remove") flags="--model --models --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache warm") flags="--model --models --enabled --as --jsonl --invalid-utf8 --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache export") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache import") flags="--format --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --fingerprint --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache expire") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache resize") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "cache clear") flags="--cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --json --yes --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "shard plan") flags="--db --store --schema --direct-url --shards --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "shard apply") flags="--db --store --schema --direct-url --shards --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "shard status") flags="--db --store --schema --direct-url --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "bench") flags="--db --store --schema --direct-url --source --model --models --as --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --only --measurement-time --save-baseline --baseline --max-regression --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "tune") flags="--model --models --model-url --auto-pull --offline --timeout --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --measurement-time --memory --rate --latency --preset --write --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "doctor") flags="--db --store --schema --direct-url --model --models --model-url --auto-pull --offline --timeout --base-url --dimensions --force-dimensions --concurrency --max-inputs --requests-per-minute --tokens-per-minute --limit-shared --limit-name --attempts --pause-after --fallback-url --proxy --ca-file --max-length --precision --backend --ort-library --device --strict-device --ort-optimization --intra-threads --inter-threads --packed-limit --mmap --batch --cache --cache-file --cache-entries --cache-bytes --cache-file-bytes --cache-file-entries --cache-redis --cache-redis-timeout --cache-ttl --threads --json --quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
        "help") flags="--quiet --log-level --log-format --cpu --memory-limit --config --help" ;;
    esac
    case $word in
        -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
}
complete -o filenames -F _quern quern
