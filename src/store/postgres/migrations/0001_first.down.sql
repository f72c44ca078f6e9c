DROP TABLE locks, staging, batches, documents, stamps, generations, sources;
