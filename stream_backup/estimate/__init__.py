"""What a backfill, a month of capture and a restore would cost, and how long they would take."""
