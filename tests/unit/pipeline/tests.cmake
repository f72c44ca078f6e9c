# What is about threads runs under the thread sanitizer too.
set_property(TEST pipeline.test_fill APPEND PROPERTY LABELS tsan)
