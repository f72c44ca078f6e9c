# What is about threads runs under the thread sanitizer too.
set_property(TEST cache.test_cache APPEND PROPERTY LABELS tsan)
