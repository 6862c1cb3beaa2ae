"""Statistical methods: tables in, numbers out. No method knows a trial, a file or a page."""
