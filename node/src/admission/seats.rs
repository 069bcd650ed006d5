//! Sockets of sessions, by tenant and by principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rotary_proto::limits::{SESSIONS_PER_PRINCIPAL_MAX, SESSIONS_PER_TENANT_MAX};
use rotary_proto::{PrincipalId, TenantId};

use super::{Budget, lock};

/// Who sits here. An entry for each tenant and principal with a socket.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_tenant: HashMap<Option<TenantId>, usize>,
    by_principal: HashMap<PrincipalId, usize>,
}

/// A socket that is counted, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    tenant: Option<TenantId>,
    principal: PrincipalId,
}

impl Seats {
    /// A seat, or whose are all taken.
    pub(crate) fn take(
        self: &Arc<Self>,
        tenant: Option<TenantId>,
        principal: PrincipalId,
    ) -> Result<Seat, Budget> {
        let mut taken = lock(&self.taken);
        let of_tenant = taken.by_tenant.get(&tenant).copied().unwrap_or(0);
        let of_principal = taken.by_principal.get(&principal).copied().unwrap_or(0);
        if of_principal >= SESSIONS_PER_PRINCIPAL_MAX {
            return Err(Budget::Caller);
        }
        if of_tenant >= SESSIONS_PER_TENANT_MAX {
            return Err(Budget::Tenant);
        }
        taken.by_tenant.insert(tenant, of_tenant + 1);
        taken.by_principal.insert(principal, of_principal + 1);
        Ok(Seat { seats: self.clone(), tenant, principal })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        if let Some(count) = taken.by_tenant.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                taken.by_tenant.remove(&self.tenant);
            }
        }
        if let Some(count) = taken.by_principal.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                taken.by_principal.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_and_a_tenant_have_so_many_seats_and_get_them_back() {
        let seats = Arc::new(Seats::default());
        let (one, other) = (Some(TenantId(1)), Some(TenantId(2)));
        let sit = |tenant, principal: usize| seats.take(tenant, PrincipalId(principal as u32));
        let per = SESSIONS_PER_PRINCIPAL_MAX;
        let mut taken: Vec<Seat> =
            (0..SESSIONS_PER_TENANT_MAX).map(|at| sit(one, at / per).expect("a seat")).collect();
        assert_eq!(sit(other, 0).expect_err("full"), Budget::Caller);
        assert_eq!(sit(one, 1_000_000).expect_err("full"), Budget::Tenant);
        assert!(sit(other, 1_000_000).is_ok(), "others have their own");
        taken.pop();
        assert!(sit(one, 1_000_000).is_ok());
        drop(taken);
        let left = lock(&seats.taken);
        assert!(left.by_tenant.is_empty() && left.by_principal.is_empty(), "nobody is kept");
    }
}
